"""What the command line does, as functions: `train`, `compare`, `load_study`. Nothing here imports torch by itself.

settings       arguments -> the settings of a run
train, compare the two commands; `smoothiou.cli` puts words around them
prepare        a study, checked and planned, before anything is written
study          a study's folder: table, verdict, best run
"""
