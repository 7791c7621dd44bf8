"""Element symbols and atomic numbers, without a chemistry library (training must not need one)."""

SYMBOLS = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br "
    "Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho "
    "Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf"
).split()

MAX_Z = len(SYMBOLS)  # 98, californium: the model's embedding has as many rows

_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS, start=1)} | {"D": 1, "T": 1}


def atomic_number(symbol: str) -> int | None:
    """Atomic number, 1 to 98, of an element symbol (D and T are hydrogen); None for other text."""
    return _NUMBERS.get(symbol.strip())
