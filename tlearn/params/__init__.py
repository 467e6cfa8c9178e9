"""Parameters as named arrays: paths, rules, split and merge, digests, tables; knows only JAX."""

from tlearn.params.digest import Digest as Digest
from tlearn.params.digest import digest as digest
from tlearn.params.paths import FlatParams as FlatParams
from tlearn.params.paths import flatten as flatten
from tlearn.params.paths import layer_of as layer_of
from tlearn.params.paths import nearest as nearest
from tlearn.params.paths import unflatten as unflatten
from tlearn.params.rules import RuleError as RuleError
from tlearn.params.rules import resolve as resolve
from tlearn.params.split import merge as merge
from tlearn.params.split import split as split
from tlearn.params.table import table as table
