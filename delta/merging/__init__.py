"""Merging updates of one weight: one pure function per published method.

A method is a function with the decorator `merge_method` in any module of this package; nothing lists it by hand. Its
keyword-only arguments are its parameters. Two kinds exist: "factors" methods take and give `LowRank` updates and never
form an m x n matrix, "dense" methods take and give [m, n] matrices of one layer.

Weights are the strengths the user set: signed, and multiplied in before anything else. They are not normalised to a sum
of one, so where a paper averages, or has a global coefficient of its own, that is a common factor of the weights.
"""

from .registry import MergeMethod, merge, methods

__all__ = ["MergeMethod", "merge", "methods"]
