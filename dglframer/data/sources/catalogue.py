"""What the sources hold: the rows of `dglframer sources`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from textwrap import fill

JARVIS = "K. Choudhary et al., npj Comput. Mater. 6, 173 (2020), doi:10.1038/s41524-020-00440-1"
JARVIS_NOW = (
    "K. Choudhary, Comput. Mater. Sci. 259, 114063 (2025), doi:10.1016/j.commatsci.2025.114063"
)
PUBLIC = "public domain in the US (NIST)"
CC_BY = "CC BY 4.0"

DFT_3D = {
    "formation_energy_peratom": "eV/atom",
    "optb88vdw_total_energy": "eV/atom",
    "optb88vdw_bandgap": "eV",
    "mbj_bandgap": "eV",
    "hse_gap": "eV",
    "ehull": "eV/atom",
    "bulk_modulus_kv": "GPa",
    "shear_modulus_gv": "GPa",
    "poisson": "",
    "magmom_oszicar": "Bohr magneton",
    "magmom_outcar": "Bohr magneton",
    "slme": "percent",
    "spillage": "",
    "exfoliation_energy": "meV/atom",
    "max_efg": "1e21 V/m^2",
    "avg_elec_mass": "electron mass",
    "avg_hole_mass": "electron mass",
    "epsx": "",
    "epsy": "",
    "epsz": "",
    "mepsx": "",
    "mepsy": "",
    "mepsz": "",
    "max_ir_mode": "1/cm",
    "min_ir_mode": "1/cm",
    "dfpt_piezo_max_dielectric": "",
    "dfpt_piezo_max_eij": "C/m^2",
    "n-Seebeck": "microvolt/K",
    "n-powerfact": "microwatt/(m K^2)",
    "p-Seebeck": "microvolt/K",
    "p-powerfact": "microwatt/(m K^2)",
    "encut": "eV",
    "kpoint_length_unit": "angstrom",
}
MEGNET = {
    "e_form": "eV/atom",
    "gap pbe": "eV",
    "bulk modulus": "",
    "shear modulus": "",
    "elastic anisotropy": "",
    "mu_b": "Bohr magneton",
}
MATERIALS_PROJECT = {
    "formation_energy_per_atom": "eV/atom",
    "energy_per_atom": "eV/atom",
    "uncorrected_energy_per_atom": "eV/atom",
    "energy_above_hull": "eV/atom",
    "equilibrium_reaction_energy_per_atom": "eV/atom",
    "band_gap": "eV",
    "cbm": "eV",
    "vbm": "eV",
    "efermi": "eV",
    "total_magnetization": "Bohr magneton",
    "total_magnetization_normalized_vol": "Bohr magneton/angstrom^3",
    "bulk_modulus.vrh": "GPa",
    "bulk_modulus.voigt": "GPa",
    "bulk_modulus.reuss": "GPa",
    "shear_modulus.vrh": "GPa",
    "shear_modulus.voigt": "GPa",
    "shear_modulus.reuss": "GPa",
    "universal_anisotropy": "",
    "homogeneous_poisson": "",
    "e_total": "",
    "e_ionic": "",
    "e_electronic": "",
    "n": "",
    "e_ij_max": "C/m^2",
    "weighted_surface_energy": "J/m^2",
    "weighted_work_function": "eV",
}
# Properties of a source that are no plain numbers, though it states no unit.
UNIT_NOT_STATED = {"megnet": ("bulk modulus", "shear modulus")}
QM9 = {
    "Dipole_debye": "debye",
    "Polarizability_bohr3": "bohr^3",
    "HOMO_au": "hartree",
    "LUMO_au": "hartree",
    "HOMO_LUMO_gap_au": "hartree",
    "R2_bohr2": "bohr^2",
    "ZPVE_au": "hartree",
    "InternalEnergy_0K_au": "hartree",
    "InternalEnergy_298K_au": "hartree",
    "Enthalphy_298K_au": "hartree",
    "GibbsFreeEnergy_298K_au": "hartree",
    "Heatcapacity_Cv_cal_mol_K": "cal/(mol K)",
    "RotA_GHz": "GHz",
    "RotB_GHz": "GHz",
    "RotC_GHz": "GHz",
}
OQMD = {"_oqmd_delta_e": "eV/atom", "_oqmd_stability": "eV/atom", "_oqmd_band_gap": "eV"}


@dataclass(frozen=True)
class Row:
    """One source: ``size`` is its number of crystals, in words where it is not one number.

    ``targets`` maps a property to its unit ("" for a plain number); ``split`` says which split the
    literature uses; ``article`` is the figshare article that holds the file.
    """

    name: str
    size: str
    licence: str
    citation: str
    targets: Mapping[str, str] = field(default_factory=dict)
    split: str = ""
    article: int | None = None


def own(name: str, size: str) -> Row:
    """A source of the user's own data."""
    return Row(name, size, "yours", "yours")


ROWS = (
    Row(
        "jarvis_minerals",
        "509, carried by jarvis-tools",
        PUBLIC,
        JARVIS,
        {
            name: DFT_3D[name]
            for name in (
                "formation_energy_peratom",
                "optb88vdw_bandgap",
                "optb88vdw_total_energy",
                "mbj_bandgap",
                "ehull",
                "bulk_modulus_kv",
                "shear_modulus_gv",
            )
        },
        "the JARVIS leaderboard's, stored with the labels",
    ),
    Row(
        "dft_3d_2021",
        "55723 (the papers' snapshot of 2021-08-18)",
        PUBLIC,
        JARVIS,
        DFT_3D,
        "the JARVIS leaderboard's: of the entries with the target, 80/10/10 %",
        6815699,
    ),
    Row(
        "dft_3d",
        "about 94000 (the version that jarvis-tools names)",
        PUBLIC,
        JARVIS_NOW,
        DFT_3D,
        "",
        6815699,
    ),
    Row(
        "megnet",
        "69239 (Materials Project, 2018-06-01)",
        CC_BY,
        "C. Chen et al., Chem. Mater. 31, 3564 (2019), doi:10.1021/acs.chemmater.9b01294",
        MEGNET,
        "60000 train, 5000 val, 4239 test (energy, gap)",
        14177630,
    ),
    Row(
        "oqmd_3d_no_cfid",
        "817636",
        CC_BY,
        "J. E. Saal et al., JOM 65, 1501 (2013); S. Kirklin et al., npj Comput. Mater. 1, 15010 (2015)",
        OQMD,
        "",
        14206169,
    ),
    Row(
        "materials_project",
        "what the query finds (live)",
        CC_BY,
        "A. Jain et al., APL Mater. 1, 011002 (2013), doi:10.1063/1.4812323",
        MATERIALS_PROJECT,
    ),
    Row(
        "qm9",
        "130831 molecules, in the package qm9pack",
        "MIT (the package qm9pack)",
        "R. Ramakrishnan et al., Sci. Data 1, 140022 (2014), doi:10.1038/sdata.2014.22",
        QM9,
    ),
    own("folder", "CIF, POSCAR, extxyz, JSON, ... files and a CSV of targets"),
    own("json", "a JSON list, JSON lines or a frame of jarvis-tools or pymatgen dictionaries"),
    own("ase", "one file of many structures that ASE reads: extxyz, traj, db, ..."),
    own("parquet", "a Parquet file in the schema of crystals.parquet"),
)
BY_NAME = {row.name: row for row in ROWS}
JARVIS_NAMES = tuple(row.name for row in ROWS if row.article)


def table() -> str:
    """The catalogue for a terminal."""
    lines = []
    for row in ROWS:
        lines += [f"{row.name}: {row.size}", f"    licence   {row.licence}"]
        lines += [f"    citation  {row.citation}"]
        if row.split:
            lines += [f"    split     {row.split}"]
        named = [f"{name} [{unit}]" if unit else name for name, unit in row.targets.items()]
        targets = "; ".join(named) or "yours"
        lines += [
            fill(
                f"    targets   {targets}", 98, break_on_hyphens=False, subsequent_indent=" " * 14
            ),
            "",
        ]
    return "\n".join(lines[:-1])
