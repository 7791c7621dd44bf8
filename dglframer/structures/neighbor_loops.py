"""The loops of the neighbour search, compiled by numba; ``neighbors`` describes the method."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def search(lattice, frac, heights, radius, start, src, dst, image):
    """Find the edges and return their number; edges without room in ``src`` are only counted.

    ``start`` [N, N + 1] receives the index of the first edge of each pair (i, j >= i). The edges of
    (i, j < i) are those of (j, i), reversed and in the opposite order.
    """
    n_sites, room = frac.shape[0], src.shape[0]
    a, b, c = lattice[0], lattice[1], lattice[2]
    cc = c[0] * c[0] + c[1] * c[1] + c[2] * c[2]
    reach0, reach1 = radius * heights[0], radius * heights[1]
    found = 0
    for i in range(n_sites):
        for j in range(i):
            first, after = start[j, i], start[j, i + 1]
            if found + after - first <= room:
                for k in range(after - first):
                    src[found + k], dst[found + k] = j, i
                    for axis in range(3):
                        image[found + k, axis] = -image[after - 1 - k, axis]
            found += after - first
        for j in range(i, n_sites):
            start[i, j] = found
            f0 = frac[j, 0] - frac[i, 0]
            f1 = frac[j, 1] - frac[i, 1]
            f2 = frac[j, 2] - frac[i, 2]
            for n0 in range(int(np.ceil(-reach0 - f0)), int(np.floor(reach0 - f0)) + 1):
                for n1 in range(int(np.ceil(-reach1 - f1)), int(np.floor(reach1 - f1)) + 1):
                    x = (f0 + n0) * a[0] + (f1 + n1) * b[0] + f2 * c[0]
                    y = (f0 + n0) * a[1] + (f1 + n1) * b[1] + f2 * c[1]
                    z = (f0 + n0) * a[2] + (f1 + n1) * b[2] + f2 * c[2]
                    # |(x, y, z) + n2 c|^2 <= radius^2
                    half = (x * c[0] + y * c[1] + z * c[2]) / cc
                    discriminant = half * half - (x * x + y * y + z * z - radius * radius) / cc
                    if discriminant < 0.0:
                        continue
                    root = np.sqrt(discriminant)
                    first, after = int(np.ceil(-half - root)), int(np.floor(-half + root)) + 1
                    if found + after - first <= room:
                        for k in range(after - first):
                            src[found + k], dst[found + k] = j, i
                            image[found + k, 0], image[found + k, 1] = n0, n1
                            image[found + k, 2] = first + k
                    found += after - first
        start[i, n_sites] = found
    return found
