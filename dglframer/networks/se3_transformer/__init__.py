"""The SE(3)-Transformer (Fuchs et al., NeurIPS 2020) and, with its attention off, the TFN.

Features are held by degree: features[l] has the shape [N, C_l, 2l + 1], with l = 1 in Cartesian order
(x, y, z). A fiber {l: C_l} says how many channels there are of each degree.
"""
