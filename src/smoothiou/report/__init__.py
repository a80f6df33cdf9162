"""The report of a study: one page and its tables, drawn from result files. No torch.

from smoothiou.report.write import write_report
"""
