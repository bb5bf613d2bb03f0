"""The exported graph has no redundant computation and a dynamic batch."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from qc_core.agents.agent import Agent
from qc_core.agents.make import make_agent
from qc_core.config.settings import train_config
from qc_core.export.module import ExportableChunk
from qc_core.export.onnx_file import to_onnx


@pytest.fixture(scope="module")
def agent() -> Agent:
    """QC with 7 observations, 2 actions, 3 samples and 4 flow steps."""
    torch.manual_seed(0)
    config = train_config("qc", hidden_dims=(128, 128), num_samples=3, flow_steps=4)
    agent = make_agent(7, 2, config).eval()
    for parameter in agent.parameters():
        nn.init.normal_(parameter, std=0.1)
    agent.set_normalization(torch.randn(7), torch.rand(7) + 0.5)
    return agent


@pytest.fixture(scope="module")
def model(agent: Agent) -> onnx.ModelProto:
    return to_onnx(ExportableChunk(agent), agent.observation_size, agent.noise_shape)


def depending_on(model: onnx.ModelProto, name: str) -> list[onnx.NodeProto]:
    """Return the nodes that depend on an input of the graph."""
    reached, nodes = {name}, []
    for node in model.graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
            nodes.append(node)
    return nodes


def products(nodes: list[onnx.NodeProto]) -> int:
    return sum(node.op_type in ("MatMul", "Gemm") for node in nodes)


@pytest.mark.parametrize("batch", [1, 2, 17])
def test_any_batch_size_gives_the_same_as_torch(
    agent: Agent, model: onnx.ModelProto, batch: int
) -> None:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    observation, noise = torch.randn(batch, 7), torch.randn(batch, 3, 10)
    got = session.run(None, {"observation": observation.numpy(), "noise": noise.numpy()})[0]
    np.testing.assert_allclose(np.asarray(got), agent.chunk(observation, noise).detach(), atol=1e-5)


def test_the_observations_part_is_computed_once(model: onnx.ModelProto) -> None:
    with_noise = depending_on(model, "noise")
    without = [node for node in model.graph.node if node not in with_noise]
    # One for the flow and one for each critic; then three layers, four flow steps, two critics.
    assert products(without) == 1 + 2
    assert products(with_noise) == 3 * (4 + 2)


def test_computations_on_weights_alone_are_folded(model: onnx.ModelProto) -> None:
    used = depending_on(model, "observation") + depending_on(model, "noise")
    assert [node.op_type for node in model.graph.node if node not in used] == []
    assert {entry.domain for entry in model.opset_import} == {""}


def test_a_module_that_fixes_its_batch_is_refused() -> None:
    class Fixed(nn.Module):
        def forward(self, observation: Tensor, noise: Tensor) -> Tensor:
            return observation + noise * len(noise)

    with pytest.raises(Exception, match="batch"):
        to_onnx(Fixed(), 3, (3,))
