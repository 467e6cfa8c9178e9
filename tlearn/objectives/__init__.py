"""Objectives: (outputs, batch) to sums and counts, so that no split of a batch changes a mean."""

from tlearn.objectives.classification import Classification as Classification
from tlearn.objectives.consistent_labels import ConsistentLabels as ConsistentLabels
from tlearn.objectives.labels_and_next_tokens import LabelsAndNextTokens as LabelsAndNextTokens
from tlearn.objectives.masked_tokens import MaskedPairs as MaskedPairs
from tlearn.objectives.masked_tokens import MaskedTokens as MaskedTokens
from tlearn.objectives.next_tokens import NextTokens as NextTokens
from tlearn.objectives.regression import Regression as Regression
from tlearn.objectives.replaced_tokens import ReplacedTokens as ReplacedTokens
from tlearn.objectives.seq2seq import Seq2Seq as Seq2Seq
from tlearn.objectives.sums import Sums as Sums
