"""The loops of the search for equivalent sites, compiled by numba; ``orbits`` describes the method.

Rows of a basis are its vectors: a rotation W (whole numbers) takes the fractional coordinates f to f W.
"""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def reduced_basis(lattice):
    """[3, 3]: three vectors of the same lattice, none shorter if multiples of the others are added."""
    basis = lattice.copy()
    changed = True
    while changed:
        changed = False
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            for other in (j, k):
                along = np.dot(basis[i], basis[other]) / np.dot(basis[other], basis[other])
                if abs(along) > 0.5 + 1e-9:
                    basis[i] -= np.rint(along) * basis[other]
                    changed = True
            shortest = np.dot(basis[i], basis[i]) * (1 - 1e-9)
            for x in (-1, 1):
                for y in (-1, 1):
                    vector = basis[i] + x * basis[j] + y * basis[k]
                    if np.dot(vector, vector) < shortest:
                        basis[i] = vector
                        shortest = np.dot(vector, vector) * (1 - 1e-9)
                        changed = True
    return basis


@numba.njit(cache=True, nogil=True)
def rotations_of(basis, tolerance):
    """[O, 3, 3]: whole numbers W that leave lengths and angles of a reduced basis as they are.

    Of such a basis the entries of W are -1, 0 and 1. ``tolerance``: by how much a vector may change,
    in the unit of the basis.
    """
    steps = np.empty((27, 3))
    for n in range(27):
        steps[n, 0], steps[n, 1], steps[n, 2] = n // 9 - 1, n // 3 % 3 - 1, n % 3 - 1
    vectors = steps @ basis
    metric = basis @ basis.T
    length = np.sqrt(np.diag(metric))
    found = np.empty((96, 3, 3))
    count = 0
    for one in range(27):
        if abs(np.sqrt(np.dot(vectors[one], vectors[one])) - length[0]) > tolerance:
            continue
        for two in range(27):
            if abs(np.sqrt(np.dot(vectors[two], vectors[two])) - length[1]) > tolerance:
                continue
            width = tolerance * (length[0] + length[1])
            if abs(np.dot(vectors[one], vectors[two]) - metric[0, 1]) > width:
                continue
            for three in range(27):
                if abs(np.sqrt(np.dot(vectors[three], vectors[three])) - length[2]) > tolerance:
                    continue
                width = tolerance * (length[0] + length[2])
                if abs(np.dot(vectors[one], vectors[three]) - metric[0, 2]) > width:
                    continue
                width = tolerance * (length[1] + length[2])
                if abs(np.dot(vectors[two], vectors[three]) - metric[1, 2]) > width:
                    continue
                if count < len(found):
                    found[count, 0], found[count, 1] = steps[one], steps[two]
                    found[count, 2] = steps[three]
                    count += 1
    return found[:count]


@numba.njit(cache=True, nogil=True)
def maps(basis, frac, kind_start, rotation, translation, tolerance, to):
    """Whether the operation takes every site onto one of its kind; ``to`` [N] receives which one.

    Returns the number of sites that were looked at, negative if some site has no image. The sites of
    kind k are kind_start[k] to kind_start[k + 1] - 1.
    """
    looked = 0
    for kind in range(len(kind_start) - 1):
        first, after = kind_start[kind], kind_start[kind + 1]
        for i in range(first, after):
            x0, y0, z0 = translation[0], translation[1], translation[2]
            for axis in range(3):
                x0 += frac[i, axis] * rotation[axis, 0]
                y0 += frac[i, axis] * rotation[axis, 1]
                z0 += frac[i, axis] * rotation[axis, 2]
            to[i] = -1
            for j in range(first, after):
                looked += 1
                x, y, z = x0 - frac[j, 0], y0 - frac[j, 1], z0 - frac[j, 2]
                x, y, z = x - np.rint(x), y - np.rint(y), z - np.rint(z)
                square = 0.0
                for axis in range(3):
                    part = x * basis[0, axis] + y * basis[1, axis] + z * basis[2, axis]
                    square += part * part
                if square <= tolerance * tolerance:
                    to[i] = j
                    break
            if to[i] < 0:
                return -looked
    return looked


@numba.njit(cache=True, nogil=True)
def join(label, to):
    """Give every site i and to[i] one label, the smallest site of their orbit."""
    for i in range(len(to)):
        one, other = i, to[i]
        while label[one] != one:
            one = label[one]
        while label[other] != other:
            other = label[other]
        label[max(one, other)] = min(one, other)
    for i in range(len(label)):
        label[i] = label[label[i]]


@numba.njit(cache=True, nogil=True)
def separate_unlike(lattice, frac, src, image, edge_start, tolerance, proper, every):
    """Take orbits apart whose members have other edges than the first one.

    The edges of site i are edge_start[i] to edge_start[i + 1] - 1. The edges of two members are alike
    if there are equally many, and if their lengths in ascending order differ by at most ``tolerance``.
    ``proper`` and ``every`` [N] are changed in place.
    """
    n_sites = len(frac)
    length = np.empty(len(src))
    is_unlike = np.zeros((2, n_sites), np.bool_)
    is_first = np.zeros(n_sites, np.bool_)
    for i in range(n_sites):
        if every[i] != i:
            is_first[every[i]] = is_first[proper[i]] = True
    for i in range(n_sites):
        if every[i] == i and not is_first[i]:
            continue  # it has no equivalent ones
        for e in range(edge_start[i], edge_start[i + 1]):
            square = 0.0
            for axis in range(3):
                part = 0.0
                for k in range(3):
                    part += (frac[src[e], k] - frac[i, k] + image[e, k]) * lattice[k, axis]
                square += part * part
            length[e] = np.sqrt(square)
        length[edge_start[i] : edge_start[i + 1]].sort()
        for which, orbit in enumerate((proper, every)):
            first = orbit[i]
            count = edge_start[i + 1] - edge_start[i]
            if count != edge_start[first + 1] - edge_start[first]:
                is_unlike[which, first] = True
                continue
            for e in range(count):
                difference = length[edge_start[i] + e] - length[edge_start[first] + e]
                if abs(difference) > tolerance:
                    is_unlike[which, first] = True
                    break
    for which, orbit in enumerate((proper, every)):
        for i in range(n_sites):
            if is_unlike[which, orbit[i]]:
                orbit[i] = i


@numba.njit(cache=True, nogil=True)
def search(basis, frac, kind_start, tolerance, budget, proper, every):
    """Label the sites with the smallest one of their orbit; whether the budget sufficed.

    ``proper`` and ``every`` [N] hold 0 to N - 1 and receive the orbits under operations of
    determinant 1 and under all. The first site is of the rarest kind: an operation takes it to a site
    of that kind, and from this follows its translation. Of a rotation one translation is enough, since
    the others differ from it by translations of the lattice of sites. ``budget`` limits the sites that
    are looked at.
    """
    n_sites = len(frac)
    to = np.empty(n_sites, np.int64)
    identity = np.eye(3)
    for k in range(kind_start[1]):  # translations; those of a found orbit have their generators
        if proper[k] != 0:
            looked = maps(basis, frac, kind_start, identity, frac[k] - frac[0], tolerance, to)
            budget -= abs(looked)
            if looked > 0:
                join(proper, to)
                join(every, to)
        if budget < 0:
            return False
    rotations = rotations_of(basis, tolerance)
    for o in range(len(rotations)):
        rotation = rotations[o]
        if (rotation == identity).all():
            continue
        for k in range(kind_start[1]):
            translation = frac[k] - frac[0] @ rotation
            looked = maps(basis, frac, kind_start, rotation, translation, tolerance, to)
            budget -= abs(looked)
            if budget < 0:
                return False
            if looked > 0:
                join(every, to)
                if np.linalg.det(rotation) > 0:
                    join(proper, to)
                break
    return True
