"""Engines built for real, by TensorRT's own parser and compiler; what they are is written beside them."""

import ast
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.bundle.engines import FOLDER, Device, read_engine
from edge_lupi.bundle.write import write_bundle
from edge_lupi.compile.engines.build import engine_for, engine_key
from edge_lupi.compile.request import BuilderOptions
from edge_lupi.errors import InputError
from edge_lupi.installed import install_command

ROOT = Path(__file__).resolve().parents[3]
Cli = Callable[..., subprocess.CompletedProcess[str]]
WithEngines = tuple[Path, dict[str, Any]]
PRECISIONS = ("fp32", "fp16", "int8")


def in_builder(environment: dict[str, str], code: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_graph_in_every_precision(with_engines: WithEngines) -> None:
    path, said = with_engines
    assert [(e["name"], e["precision"]) for e in said["engines"]] == [("encoder", p) for p in PRECISIONS]
    bundle = Bundle.load(path)
    for built, entry in zip(bundle.engines, said["engines"], strict=True):
        data = read_engine(path / FOLDER, built)
        assert len(data) == entry["bytes"] == (path / entry["file"]).stat().st_size > 100_000
        assert (built.key.max_batch, built.chosen, built.key.device.capability) == (16, False, "")
        graph = bundle.file(bundle.tensorrt_graphs[built.key.name][built.key.precision])
        assert hashlib.sha256(graph).hexdigest() == built.key.graph_sha256


def test_json_keeps_its_keys(with_engines: WithEngines) -> None:
    path, said = with_engines
    assert said.keys() >= {"bundle", "target", "precisions", "chosen", "why", "engines"}
    assert (said["bundle"], said["target"], said["engines_run_here"]) == (str(path), "tensorrt", False)
    assert all(entry.keys() >= {"name", "precision", "bytes"} for entry in said["engines"])


def test_the_manifest_knows_graphs_but_no_engines(with_engines: WithEngines) -> None:
    manifest = Bundle.load(with_engines[0]).manifest
    assert not [name for name in manifest["files"] if name.endswith(".plan")]
    files = manifest["tensorrt"]
    assert files == {"encoder": {precision: f"tensorrt.encoder.{precision}.onnx" for precision in PRECISIONS}}


def test_a_second_time_nothing_is_built(
    with_engines: WithEngines, tensorrt_builder: dict[str, str], cli: Cli, tmp_path: Path
) -> None:
    bundle = shutil.copytree(with_engines[0], tmp_path / "two.lupi")
    before = {file.name: file.stat().st_mtime_ns for file in (bundle / FOLDER).glob("*.plan")}
    environment = {**tensorrt_builder, "XDG_CACHE_HOME": str(tmp_path)}
    done = cli("compile", bundle, "--target", "tensorrt", env=environment)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.splitlines()[-1]
        == "built for no GPU with TensorRT 11.4.0.106: these engines have not been run here"
    )
    assert {file.name: file.stat().st_mtime_ns for file in (bundle / FOLDER).glob("*.plan")} == before
    damaged = next((bundle / FOLDER).glob("encoder.int8.*.plan"))
    damaged.write_bytes(damaged.read_bytes()[::-1])
    cli("compile", bundle, "--target", "tensorrt", "--precision", "int8", env=environment)
    assert damaged.stat().st_mtime_ns != before[damaged.name]
    assert all(read_engine(bundle / FOLDER, built) for built in Bundle.load(bundle).engines)


def test_an_engine_for_large_batches_holds_kernels_for_both(
    with_engines: WithEngines, tensorrt_builder: dict[str, str]
) -> None:
    code = """
import sys
import tensorrt
from edge_lupi.compile.engines.tensorrt import engine_from_onnx
from edge_lupi.compile.request import BuilderOptions
graph = open(sys.argv[1], "rb").read()
print(*(len(engine_from_onnx(graph, BuilderOptions(most), tensorrt, name="encoder")) for most in (4, 16, 17, 64)))
"""
    said = in_builder(tensorrt_builder, code, with_engines[0] / "tensorrt.encoder.int8.onnx")
    few, live, more, many = map(int, said.split())
    assert max(few, live) * 1.2 < min(more, many)


def test_on_the_device_without_torch(
    with_engines: WithEngines, tensorrt_builder: dict[str, str], tmp_path: Path
) -> None:
    """What a workstation compiled with --no-build is built where neither torch nor onnx can be imported."""
    bundle = shutil.copytree(with_engines[0], tmp_path / "two.lupi", ignore=shutil.ignore_patterns(FOLDER))
    code = """
import sys
sys.modules["torch"] = sys.modules["onnx"] = None
sys.argv = ["edge-lupi", "compile", sys.argv[1], "--target", "tensorrt", "--precision", "fp16", "--max-batch", "4"]
from edge_lupi.cli import main
main()
"""
    said = in_builder({**tensorrt_builder, "XDG_CACHE_HOME": str(tmp_path)}, code, bundle)
    assert "encoder                 fp16" in said
    assert {(b.key.precision, b.key.max_batch) for b in Bundle.load(bundle).engines} == {("fp16", 4)}
    assert list((tmp_path / "edge-lupi").glob("tensorrt-11.4.0.106-smnone.timings"))


def test_on_the_workstation_without_tensorrt(with_engines: WithEngines, cli: Cli, tmp_path: Path) -> None:
    shutil.copy(with_engines[0].with_name("two.pt"), tmp_path)
    done = cli("compile", tmp_path / "two.pt", "--target", "tensorrt", "--no-build", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["engines"] == []
    bundle = Bundle.load(tmp_path / "two.lupi")
    assert bundle.engines == ()
    assert {name: set(files) for name, files in bundle.tensorrt_graphs.items()} == {"encoder": set(PRECISIONS)}


def test_a_bundle_for_the_cpu_has_nothing_to_build_from(
    with_engines: WithEngines, tensorrt_builder: dict[str, str], cli: Cli, tmp_path: Path
) -> None:
    shutil.copy(with_engines[0].with_name("two.pt"), tmp_path)
    assert cli("compile", tmp_path / "two.pt", "--target", "cpu").returncode == 0
    for words, target in (
        ("has no graphs for TensorRT: compile the student", "tensorrt"),
        ("is compiled already", "cpu"),
    ):
        done = cli("compile", tmp_path / "two.lupi", "--target", target, env=tensorrt_builder)
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr


def test_a_graph_that_tensorrt_refuses_is_one_sentence(tensorrt_builder: dict[str, str]) -> None:
    code = """
import tensorrt
from edge_lupi.compile.engines.tensorrt import engine_from_onnx
from edge_lupi.compile.request import BuilderOptions
from edge_lupi.errors import EdgeLupiError
from onnx import TensorProto, helper
value = helper.make_tensor_value_info
def graph(kind, dtype):
    made = helper.make_graph([helper.make_node(kind, ["x"], ["y"], name="odd one")], "g",
        [value("x", dtype, ["b", 3])], [value("y", dtype, ["b", 3])])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
for data in (b"no graph", graph("Nonsense", TensorProto.FLOAT), graph("Relu", TensorProto.STRING)):
    try:
        engine_from_onnx(data, BuilderOptions(), tensorrt, name="encoder (int8)")
    except EdgeLupiError as error:
        print(str(error))
"""
    damaged, foreign, refused = in_builder(tensorrt_builder, code).splitlines()
    assert damaged.startswith("encoder (int8) is not a graph")  # both said before TensorRT sees them
    assert foreign.startswith("encoder (int8) is not a graph of edge-lupi (its operator 'Nonsense'")
    assert refused.startswith("TensorRT 11.4.0.106 cannot read encoder (int8) (")


def test_without_tensorrt_one_sentence(with_engines: WithEngines, cli: Cli) -> None:
    for given in (with_engines[0], with_engines[0].with_name("two.pt")):
        done = cli("compile", given, "--target", "tensorrt")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("edge-lupi: edge-lupi compile for tensorrt needs TensorRT (on a Jetson JetPack")
        assert done.stderr.endswith(f": {install_command('tensorrt')}\n")


def test_inspect_tells_what_does_not_fit(with_engines: WithEngines, cli: Cli, tmp_path: Path) -> None:
    bundle = shutil.copytree(with_engines[0], tmp_path / "two.lupi")
    pretend(bundle, capability="8.7", gpu="Orin", tensorrt="10.3.0")
    lines = [line for line in cli("inspect", bundle).stdout.splitlines() if line.startswith("engine ")]
    assert len(lines) == 3
    assert all("built for SM 8.7 with TensorRT 10.3.0; here no GPU with no TensorRT" in line for line in lines)
    found = json.loads(cli("inspect", bundle, "--json").stdout)
    assert [entry["name"] for entry in found["engines"]] == ["encoder"] * 3


def test_listening_starts_with_a_foreign_engine(
    with_engines: WithEngines, cli: Cli, tmp_path: Path, sound_file: Callable[..., Path], voice: Callable[..., Any]
) -> None:
    bundle = shutil.copytree(with_engines[0], tmp_path / "two.lupi")
    pretend(bundle, capability="8.7", gpu="Orin", tensorrt="10.3.0")
    done = cli("listen", bundle, "--task", "mood", "--input", sound_file("a.wav", voice(1, 2.0)), "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.stderr.startswith(f"runs on the CPU: the engines in {bundle} need an NVIDIA GPU")


def test_a_bundle_that_is_replaced_while_its_engines_are_built(with_engines: WithEngines, tmp_path: Path) -> None:
    """Another student's engines are not put into it; the same student compiled again is no other."""
    path = shutil.copytree(with_engines[0], tmp_path / "two.lupi")
    bundle, device = Bundle.load(path), Device("11.4", "8.9", "Ada")
    key = engine_key(bundle, "encoder", "int8", BuilderOptions(), device)
    write_bundle(path, {**bundle.manifest, "licence": "another"}, bundle.files, bundle.tasks)
    assert engine_for(bundle, key, lambda graph, _: graph).key == key
    files = {**bundle.files, "tensorrt.encoder.int8.onnx": b"another student's"}
    write_bundle(path, bundle.manifest, files, bundle.tasks)
    with pytest.raises(InputError, match=r"two.lupi was replaced by another student while its engines were built"):
        engine_for(bundle, key, lambda graph, _: graph)
    assert Bundle.load(path).engines == ()


def pretend(bundle: Path, **device: str) -> None:
    """Let the engines be another device's."""
    from edge_lupi.bundle import engines

    folder = bundle / FOLDER
    known = [(built, read_engine(folder, built)) for built in engines.read_engines(folder)]
    shutil.rmtree(folder)
    with engines.locked(folder):
        for built, data in known:
            other = engines.replace(built.key, device=engines.Device(**device))
            engines.write_engine(folder, other, data)
        engines.write_choice(folder, engines.Device(**device), "fp16")


OBJECTS = {  # what our variables hold, by the class that the bindings call it
    "trt": "",
    "self.module": "",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "tensor": "ITensor",
    "parser": "OnnxParser",
    "error": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "timings": "ITimingCache",
    "plan": "IHostMemory",
    "self._runtime": "Runtime",
    "self._engine": "ICudaEngine",
    "context": "IExecutionContext",
}


def names_of_tensorrt() -> set[str]:
    """Everything of TensorRT that our code uses, e.g. BuilderFlag.TF32."""
    used = set()
    for file in ("compile/engines/tensorrt.py", "compile/engines/build.py", "runtime/engines/tensorrt.py"):
        for node in ast.walk(ast.parse((ROOT / "edge_lupi" / file).read_text())):
            if isinstance(node, ast.Attribute):
                for variable, kind in OBJECTS.items():
                    head, dot, tail = ast.unparse(node).partition(f"{variable}.")
                    if not head and dot and tail.replace(".", "").replace("_", "").isalnum():
                        used.add(f"{kind}.{tail}".strip("."))
    return used


@pytest.mark.parametrize(("folder", "version"), [("10", "10.3.0"), ("11", "11.4.0.106")])
def test_jetpack_6_and_the_newest_have_every_name(tensorrt_builder: dict[str, str], folder: str, version: str) -> None:
    used = names_of_tensorrt()
    assert used >= {
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "MemoryPoolType.WORKSPACE",
        "Builder.build_serialized_network",
        "OnnxParser.parse",
        "ParserError.node_name",
        "IBuilderConfig.set_timing_cache",
        "IOptimizationProfile.set_shape",
        "Runtime.deserialize_cuda_engine",
        "ICudaEngine.get_tensor_profile_shape",
        "IExecutionContext.execute_async_v3",
        "IExecutionContext.set_optimization_profile_async",
        "ICudaEngine.num_optimization_profiles",
    }
    code = """
import sys
from operator import attrgetter
import tensorrt
print(tensorrt.__version__)
for name in sys.argv[1:]:
    try:
        attrgetter(name)(tensorrt)
    except AttributeError:
        print("absent:", name)
"""
    path = str(Path(tensorrt_builder["PYTHONPATH"]).with_name(folder))
    said = in_builder({**tensorrt_builder, "PYTHONPATH": path}, code, *sorted(used))
    assert said.splitlines() == [version]
