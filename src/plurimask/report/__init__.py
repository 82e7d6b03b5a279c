"""Scores and pictures as one HTML file: no network, pictures inside, no script but the page's own.

`cases` makes the page of a demo or an evaluation, `benchmark` that of a benchmark. `choice` says which of many cases
are shown, `card` and `marks` what of a case, `systems` and `strip` what several systems drew for it, `chart` how
numbers become places; `page` puts it into a template.
"""

from plurimask.report.cases import write_evaluation_report, write_report

__all__ = ["write_evaluation_report", "write_report"]
