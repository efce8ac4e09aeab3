"""What can be configured about Kubeflow Pipelines."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic

from data.base.section import Section


class TolerationSettings(Section):
    """A taint of nodes that a step's pod tolerates, as Kubernetes has it.

    Attributes:
      key: of the taint; by default any.
      operator: `Equal` compares the value, too.
      value: of the taint.
      effect: that is tolerated; by default each.
    """

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Exists"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


class SecretKey(Section):
    """A key of a Kubernetes secret.

    Attributes:
      secret: its name.
      key: in it.
    """

    secret: Annotated[str, pydantic.Field(min_length=1)]
    key: Annotated[str, pydantic.Field(min_length=1)]


_Quantity = Annotated[str, pydantic.Field(pattern=r"^([0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?)?$")]


class StepSettings(Section):
    """What the pod of a step gets.

    Attributes:
      cpu: cores that it asks for and may use, such as `4` or `500m`; by default what the cluster gives.
      memory: bytes, such as `16Gi`.
      gpus: how many; 0 is none.
      gpu_type: the resource's name, such as `nvidia.com/gpu`; on Vertex AI the accelerator's, such as `NVIDIA_L4`.
      node_selector: labels that the node must have.
      tolerations: taints that it tolerates.
      retries: how often it is started again after a failure.
      timeout_minutes: it fails after; 0 is never.
      environment: variables with their values; no place for secrets.
      secrets: variables whose values are in Kubernetes secrets.
      cache: whether its result may come from an earlier run with the same inputs, settings and code.
    """

    cpu: _Quantity = ""
    memory: _Quantity = ""
    gpus: Annotated[int, pydantic.Field(ge=0)] = 0
    gpu_type: str = "nvidia.com/gpu"
    node_selector: dict[str, str] = {}
    tolerations: list[TolerationSettings] = []
    retries: Annotated[int, pydantic.Field(ge=0, le=100)] = 0
    timeout_minutes: Annotated[int, pydantic.Field(ge=0)] = 0
    environment: dict[str, str] = {}
    secrets: dict[str, SecretKey] = {}
    cache: bool = True

    @pydantic.field_validator("cpu", "memory", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) else value


class VolumeSettings(Section):
    """A volume that every step mounts.

    Attributes:
      claim: name of the persistent volume claim, which many nodes may write to (ReadWriteMany).
      path: where it is mounted.
    """

    claim: Annotated[str, pydantic.Field(min_length=1)] = "segpipe"
    path: Annotated[str, pydantic.Field(pattern=r"^/.+[^/]$")] = "/mnt/segpipe"


class KubeflowSettings(Section):
    """How the pipeline runs on a cluster; `segpipe compile` reads it, runs on this machine do not.

    Attributes:
      platform: open-source Kubeflow Pipelines, or `vertex` for Vertex AI, on which no pipeline was ever run.
      pipeline_root: where artifacts go, such as `minio://mlpipeline/segpipe`; by default where the server says.
      artifacts: `local` reads and writes artifacts at the paths where the launcher puts them (/minio, /s3, /gcs);
        `direct` opens their URIs, which TensorFlow can of `gs://`.
      volume: below whose path the relative paths of this file are; none, with `volume: null`, if all are `gs://`.
      image_pull_secret: name of the secret for a private registry.
      defaults: what each step gets.
      steps: what single steps get, by component; it takes precedence, key by key.
    """

    platform: Literal["kubeflow", "vertex"] = "kubeflow"
    pipeline_root: str = ""
    artifacts: Literal["local", "direct"] = "local"
    volume: VolumeSettings | None = VolumeSettings()
    image_pull_secret: str = ""
    defaults: StepSettings = StepSettings()
    steps: dict[str, StepSettings] = {}

    def caveats(self) -> list[str]:
        """What users should know of the platform before they rely on it."""
        if self.platform == "kubeflow":
            return []
        return ["segpipe was never run on Vertex AI: its pipelines are only compiled and checked against the format."]

    def step(self, component: str) -> StepSettings:
        """What a component's pod gets."""
        own = self.steps.get(component, StepSettings())
        return self.defaults.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})

    @pydantic.model_validator(mode="after")
    def _check_platform(self) -> KubeflowSettings:
        if self.platform == "vertex":
            if self.volume is not None:
                raise ValueError("Vertex AI mounts no volume; set volume: null, and gs:// paths")
            for step in (self.defaults, *self.steps.values()):
                if step.tolerations or step.secrets or step.timeout_minutes:
                    raise ValueError("Vertex AI has no tolerations, secrets and timeout_minutes for steps")
        return self
