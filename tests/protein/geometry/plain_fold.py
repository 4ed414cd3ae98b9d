"""Fold geometry of one chain, written with loops over its residues and elements: slow, and plain to read."""

import math
from collections import Counter

import numpy as np

from partoken.protein.geometry.fold import FOLD_NAMES

LOCAL_RANGES = {2: (4.8, 7.2), 3: (4.5, 10.5), 4: (5.0, 13.8), 5: (5.0, 17.0), 6: (6.0, 20.4)}
SEPARATIONS = (3, 4, 6, 9, 14, 24, 50, 100)
KINDS = {1: "helix", 2: "strand"}


def plain_fold(coords, states):
    """Returns the number of each name for coordinates [L, 4, 3], given the state of each residue."""
    coords = np.asarray(coords, np.float64)
    known = [i for i in range(len(coords)) if np.isfinite(coords[i, :3]).all()]
    ca = {i: coords[i, 1] for i in known}
    found = Counter({name: 0.0 for name in FOLD_NAMES})
    _add_distances(found, ca, len(coords))
    _add_elements(found, ca, states)
    assert set(found) == set(FOLD_NAMES)
    return np.array([found[name] for name in FOLD_NAMES])


def _add_distances(found, ca, length):
    count, centre = len(ca), sum(ca.values()) / len(ca)
    radius = max(1.0, math.sqrt(sum(((point - centre) ** 2).sum() for point in ca.values()) / count))
    found["log length"], found["log radius of gyration"] = math.log(count), math.log(radius)
    pairs = [(i, j, math.dist(ca[i], ca[j])) for i in ca for j in ca if i < j]
    part = {i: i * 8 // length for i in ca}
    contacts = [(i, j) for i, j, distance in pairs if distance < 8 and j - i >= 3]
    found["contact order"] = np.mean([j - i for i, j in contacts]) / length if contacts else 0.0
    for low, high in zip(SEPARATIONS, (*SEPARATIONS[1:], math.inf), strict=True):
        name = f"contacts, {low} or more apart" if high == math.inf else f"contacts, {low} to {high - 1} apart"
        found[name] = sum(low <= j - i < high for i, j in contacts) / count
    for _, _, distance in pairs:
        low = 5 * min(14, int(distance / 5))
        name = f"distances, {low} angstrom or more" if low == 70 else f"distances, {low} to {low + 5} angstrom"
        found[name] += 1 / len(pairs)
        for limit in (6, 8, 10, 12, 14, 16):
            found[f"contact number within {limit} angstrom"] += 2 / count * (distance < limit)
    for a in range(8):
        for b in range(a, 8):
            inside = [distance for i, j, distance in pairs if (part[i], part[j]) == (a, b)]
            found[f"distance between parts {a + 1} and {b + 1}"] = np.mean(inside) / radius if inside else 0.0
            number = sum((part[i], part[j]) == (a, b) for i, j in contacts)
            found[f"contacts between parts {a + 1} and {b + 1}"] = math.sqrt(number)
    for step, (low, high) in LOCAL_RANGES.items():
        local = [distance for i, j, distance in pairs if j - i == step]
        for distance in local:
            bin = min(7, max(0, math.floor((distance - low) / (high - low) * 8)))
            found[f"distance over {step} places, bin {bin + 1}"] += 1 / len(local)


def _add_elements(found, ca, states):
    elements, start = [], 0
    for end in range(1, len(states) + 1):
        if end == len(states) or states[end] != states[start]:
            if states[start]:
                elements.append((KINDS[int(states[start])], [ca[i] for i in range(start, end)]))
            start = end
    for kind, ends in (("helix", (7, 12, 19)), ("strand", (5, 7, 10))):
        lengths = [len(points) for of, points in elements if of == kind]
        found[f"number of {kind}"], found[f"longest of {kind}"] = len(lengths), max(lengths, default=0)
        found[f"residues of {kind}"] = sum(lengths) / len(ca)
        found[f"mean length of {kind}"] = np.mean(lengths) if lengths else 0.0
        for length in lengths:
            found[f"length of {kind}, bin {1 + sum(length >= end for end in ends)}"] += 1
    axes = [_axis(kind, np.array(points)) for kind, points in elements]
    middles = [np.mean(points, axis=0) for _, points in elements]
    for a in range(len(elements)):
        for b in range(a + 1, len(elements)):
            if min(math.dist(p, q) for p in elements[a][1] for q in elements[b][1]) < 9:
                kinds = "-".join(sorted([elements[a][0], elements[b][0]]))
                _add_pair(found, kinds, b - a, axes[a], axes[b], middles[b] - middles[a])
    for a in range(len(elements) - 2):
        kinds = "-".join(kind for kind, _ in elements[a : a + 3])
        direction = "parallel" if axes[a] @ axes[a + 2] > 0 else "antiparallel"
        hand = _hand(axes[a], middles[a + 1] - middles[a], middles[a + 2] - middles[a])
        found[f"{kinds}, {direction}, {hand}"] += 1


def _add_pair(found, kinds, apart, first, second, between):
    cosine = first @ second
    low = 45 * min(3, int(math.degrees(math.acos(cosine)) / 45))
    angle, hand = f"{low} to {low + 45} degrees", _hand(first, second, between)
    order = "4 or more apart" if apart > 3 else f"{apart} apart"
    found[f"{kinds}, {angle}, {hand}"] += 1
    found[f"{kinds}, {order}, {angle}"] += 1
    found[f"{kinds}, {order}, {'parallel' if cosine > 0 else 'antiparallel'}, {hand}"] += 1


def _axis(kind, points):
    if kind == "strand":
        places = np.arange(len(points)) - (len(points) - 1) / 2
        axis = sum(place * point for place, point in zip(places, points, strict=True))
    else:
        bends = [points[i - 1] + points[i + 1] - 2 * points[i] for i in range(1, len(points) - 1)]
        axis = sum(np.cross(bends[i], bends[i + 1]) for i in range(len(bends) - 1))
    return axis / np.linalg.norm(axis)


def _hand(a, b, c):
    return "right-handed" if np.cross(a, b) @ c > 0 else "left-handed"
