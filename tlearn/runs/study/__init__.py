"""A study: what is asked, what is run for it and where, and what its folder keeps."""

from tlearn.runs.study.declaration import FORMAT as FORMAT
from tlearn.runs.study.declaration import Arm as Arm
from tlearn.runs.study.declaration import Cell as Cell
from tlearn.runs.study.declaration import Study as Study
from tlearn.runs.study.declaration import from_values as from_values
from tlearn.runs.study.declaration import to_values as to_values
from tlearn.runs.study.factors import Factor as Factor
