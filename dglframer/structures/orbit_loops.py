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
    """Give every site i and to[i] one label, the first site of their orbit."""
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
def alike(lattice, frac, src, image, edge_start, tolerance, orbit):
    """Whether all members of each orbit have the same edges: as many, of equal lengths.

    The edges of site i are edge_start[i] to edge_start[i + 1] - 1. Sorted lengths may differ by
    ``tolerance``.
    """
    n_sites = len(frac)
    length = np.empty(len(src))
    has_others = np.zeros(n_sites, np.bool_)
    for i in range(n_sites):
        if orbit[i] != i:
            has_others[orbit[i]] = True
    for i in range(n_sites):
        first = orbit[i]
        if first == i and not has_others[i]:
            continue
        for e in range(edge_start[i], edge_start[i + 1]):
            square = 0.0
            for axis in range(3):
                part = 0.0
                for k in range(3):
                    part += (frac[src[e], k] - frac[i, k] + image[e, k]) * lattice[k, axis]
                square += part * part
            length[e] = np.sqrt(square)
        length[edge_start[i] : edge_start[i + 1]].sort()
        count = edge_start[i + 1] - edge_start[i]
        if count != edge_start[first + 1] - edge_start[first]:
            return False
        for e in range(count):
            if abs(length[edge_start[i] + e] - length[edge_start[first] + e]) > tolerance:
                return False
    return True


@numba.njit(cache=True, nogil=True)
def search(basis, frac, kind_start, tolerance, budget, rotations, images):
    """The operations that generate the group: their number, or -1 if the budget did not suffice.

    ``rotations`` [O, 3, 3] and ``images`` [O, N] receive of each the rotation and the site onto which it
    takes each site. First come translations, then one operation of each rotation: the others of that
    rotation differ from it by translations. The first site is of the rarest kind: an operation takes it to
    a site of that kind, and from this follows its translation. ``budget`` limits the sites that are looked
    at.
    """
    identity = np.eye(3)
    found = 0
    label = np.arange(len(frac))
    for k in range(1, kind_start[1]):
        if label[k] == 0:  # the translations that were found take the first site there
            continue
        translation = frac[k] - frac[0]
        looked = maps(basis, frac, kind_start, identity, translation, tolerance, images[found])
        budget -= abs(looked)
        if budget < 0:
            return -1
        if looked > 0 and found < len(images) - 1:
            join(label, images[found])
            rotations[found] = identity
            found += 1
    possible = rotations_of(basis, tolerance)
    for o in range(len(possible)):
        rotation = possible[o]
        if (rotation == identity).all():
            continue
        for k in range(kind_start[1]):
            translation = frac[k] - frac[0] @ rotation
            looked = maps(basis, frac, kind_start, rotation, translation, tolerance, images[found])
            budget -= abs(looked)
            if budget < 0:
                return -1
            if looked > 0:
                if found < len(images) - 1:
                    rotations[found] = rotation
                    found += 1
                break
    return found


@numba.njit(cache=True, nogil=True)
def average_of_translation(frac, image):
    """Move the sites, in place, so that a translation takes each exactly onto its image."""
    is_done = np.zeros(len(frac), np.bool_)
    for i in range(len(frac)):
        if is_done[i]:
            continue
        order, site = 0, i
        while not is_done[site]:  # the sites of the cycle of i
            is_done[site] = True
            site = image[site]
            order += 1
        for axis in range(3):
            # so many translations are one of the lattice
            exact = np.rint((frac[image[i], axis] - frac[i, axis]) * order) / order
            start, mean, site = frac[i, axis], 0.0, i
            for k in range(order):
                apart = frac[site, axis] - start - k * exact
                mean += (apart - np.rint(apart)) / order
                site = image[site]
            for k in range(order):
                apart = frac[site, axis] - start - k * exact
                frac[site, axis] += mean - (apart - np.rint(apart))
                site = image[site]


@numba.njit(cache=True, nogil=True)
def average(basis, frac, rotations, images):
    """(basis, frac): lattice and sites averaged over operations, which are then exact.

    ``rotations`` and ``images`` are those of ``search``, or of the proper ones of them: their translations
    first, then one of each rotation. Sites move together, by a shift of the whole crystal, as they like.
    """
    frac = frac.copy()
    identity = np.eye(3)
    metric = basis @ basis.T
    metrics, shift, n_rotations = metric.copy(), np.zeros_like(frac), 1
    for o in range(len(rotations)):
        rotation, image = rotations[o], images[o]
        if (rotation == identity).all():
            average_of_translation(frac, image)
    for o in range(len(rotations)):
        rotation, image = rotations[o], images[o]
        if (rotation == identity).all():
            continue
        n_rotations += 1
        metrics += rotation @ metric @ rotation.T
        moved = frac @ rotation
        for i in range(len(frac)):
            for axis in range(3):
                # the image, where the first site has it, from the site there
                apart = moved[i, axis] - moved[0, axis]
                apart -= frac[image[i], axis] - frac[image[0], axis]
                shift[image[i], axis] += apart - np.rint(apart)
    strain = 0.5 * (metrics / n_rotations - metric) @ np.linalg.inv(metric)
    return basis + strain @ basis, frac + shift / n_rotations
