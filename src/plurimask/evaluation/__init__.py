"""Mask sets against the readers of their cases. Takes masks, not methods, so that anyone's masks can be scored."""

from plurimask.evaluation.columns import COLUMNS, GENERAL_CONVENTIONS, HEADLINE, Column
from plurimask.evaluation.readers import DrawnAs, ReaderScores, score_drawn_as, usual_sizes
from plurimask.evaluation.score import evaluate, evaluate_on
from plurimask.evaluation.scores import CaseScores, Comparison, Scores, Stratum, TableRow, compare
from plurimask.evaluation.store import read_scores, write_scores

__all__ = [
    "COLUMNS",
    "GENERAL_CONVENTIONS",
    "HEADLINE",
    "CaseScores",
    "Column",
    "Comparison",
    "DrawnAs",
    "ReaderScores",
    "Scores",
    "Stratum",
    "TableRow",
    "compare",
    "evaluate",
    "evaluate_on",
    "read_scores",
    "score_drawn_as",
    "usual_sizes",
    "write_scores",
]
