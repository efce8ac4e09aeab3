"""Where does Beam run the data steps? One file for each runner."""

from pipeline.runners.beam.base import Runner
from pipeline.runners.beam.dataflow import DataflowRunner
from pipeline.runners.beam.direct import DirectRunner
from pipeline.runners.beam.flink import FlinkRunner
from pipeline.runners.beam.spark import SparkRunner

RUNNERS: dict[str, type[Runner]] = {
    "direct": DirectRunner,
    "flink": FlinkRunner,
    "spark": SparkRunner,
    "dataflow": DataflowRunner,
}
