"""Is the data fit for training? The data gate stops the pipeline, before anything expensive runs, if it is not.

TFX's ExampleValidator records anomalies and lets the pipeline go on. This component stops it, and checks what TFDV
cannot see. Each file answers one question: what is wrong with one example (`example`), what all of them add up to
(`counting`), what the sums say (`statistics`), what is wrong with the whole (`judgment`), what thresholds need
(`needs`), and what is only worth a warning (`doubts`).
"""

from components.data_gate.component import DataGate, DataStatistics, Executor
from components.data_gate.judgment import DataGateError
from components.data_gate.statistics import describe_files, read_statistics

__all__ = ["DataGate", "DataGateError", "DataStatistics", "Executor", "describe_files", "read_statistics"]
