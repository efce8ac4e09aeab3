import yaml

from pipeline.pipeline import create_pipeline


def test_the_same_graph_compiles_for_kubeflow(small_config, tmp_path):
    from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig

    pipeline = create_pipeline(small_config(tmp_path))
    KubeflowV2DagRunner(
        KubeflowV2DagRunnerConfig(default_image="segpipe"), output_dir=str(tmp_path), output_filename="pipeline.yaml"
    ).run(pipeline)
    compiled = yaml.safe_load((tmp_path / "pipeline.yaml").read_text())
    tasks = compiled.get("pipelineSpec", compiled)["root"]["dag"]["tasks"]
    assert set(tasks) >= {component.id for component in pipeline.components}
    # What must wait for the data gate without taking its output does so.
    assert "DataGate" in tasks["Transform"]["dependentTasks"]
