"""Device, seed, profile and folders; and the words with which bad input is refused."""
from __future__ import annotations

import functools
import random
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import platformdirs
import pytest
import torch

from course_utils import precision, runtime, validate

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def settings(monkeypatch) -> pytest.MonkeyPatch:
    """No setting but the test's own."""
    for name in ("COURSE_SEED", "COURSE_PROFILE", "COURSE_DEVICE", "COURSE_DATA_DIR", "COURSE_BUILD_DIR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture(autouse=True)
def random_state():
    """The random state of the tests that follow is none of these tests' business."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(states[0]), np.random.set_state(states[1]), torch.set_rng_state(states[2])


def machine_with(patch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    patch.setattr(torch.cuda, "device_count", lambda: 2 * cuda)
    patch.setattr(runtime, "_driver", lambda: 99000)
    patch.setattr(torch.cuda, "_lazy_init", lambda: pytest.fail("CUDA was initialised: what notebook_launcher forks then can't use it"))
    patch.setattr(torch._C, "_cuda_getDeviceCount", lambda: pytest.fail("CUDA's driver was initialised"))
    patch.setattr(torch.backends.mps, "is_available", lambda: mps)


# --- device ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("cuda, mps, best", [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_the_best_device_is_cuda_then_mps_then_the_cpu(cuda, mps, best, settings):
    machine_with(settings, cuda=cuda, mps=mps)
    assert runtime.device() == torch.device(best)
    settings.setenv("COURSE_DEVICE", "")
    assert runtime.device() == torch.device(best)


@pytest.mark.parametrize("wanted", ["cuda", "mps", "cpu"])
def test_the_device_asked_for_is_taken(wanted, settings):
    machine_with(settings, cuda=True, mps=True)
    settings.setenv("COURSE_DEVICE", wanted)
    assert runtime.device() == torch.device(wanted)


@pytest.mark.parametrize("wanted", ["cuda", "mps"])
def test_a_device_that_the_machine_lacks_is_refused(wanted, settings):
    machine_with(settings, cuda=wanted != "cuda", mps=wanted != "mps")
    settings.setenv("COURSE_DEVICE", wanted)
    with pytest.raises(ValueError, match=f"^COURSE_DEVICE: expected a device that this machine has, got '{wanted}'$"):
        runtime.device()


def test_an_unknown_device_lists_the_names(settings):
    for name in ("gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1.0", "cpu:0", "mps:1", ":1"):
        settings.setenv("COURSE_DEVICE", name)
        with pytest.raises(ValueError, match=f"^COURSE_DEVICE: expected one of cuda, mps, cpu, got '{name}'$"):
            runtime.device()


def test_one_of_several_gpus_is_taken_by_its_number(settings, capsys):
    machine_with(settings, cuda=True, mps=False)
    settings.setenv("COURSE_DEVICE", "cuda:1")
    assert runtime.device() == torch.device("cuda", 1)
    assert runtime.start("01_demo", quick={}, full={}).device == torch.device("cuda", 1)
    assert capsys.readouterr().out.startswith("device  cuda:1 (2 GPUs), torch ")
    for wanted in ("cuda:2", "cuda:10"):
        settings.setenv("COURSE_DEVICE", wanted)
        with pytest.raises(ValueError, match=f"^COURSE_DEVICE: expected a device that this machine has, got '{wanted}'$"):
            runtime.device()


@pytest.mark.parametrize("made_for, driver, count", [("12.6", 12040, 2), ("13.0", 12080, 0), ("13.0", 13000, 2), ("12.6", 0, 0), (None, 0, 2)])
def test_a_gpu_with_too_old_a_driver_is_left_alone_aloud(made_for, driver, count, settings, recwarn):
    machine_with(settings, cuda=True, mps=False)
    settings.setattr(torch.version, "cuda", made_for)
    settings.setattr(runtime, "_driver", lambda: driver)
    assert runtime.device() == torch.device("cuda" if count else "cpu")
    assert len(recwarn.list) == (count == 0)


def test_the_driver_is_asked_for_the_cuda_that_it_serves(settings):
    class Library:
        def cuDriverGetVersion(self, place) -> int:
            place._obj.value = 12040
            return 0

    settings.setattr(runtime.ctypes, "CDLL", lambda name: Library())
    assert runtime._driver() == 12040

    def missing(name: str):
        raise OSError(name)

    settings.setattr(runtime.ctypes, "CDLL", missing)
    assert runtime._driver() == 0


# --- seed --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("text, number", [(None, 0), ("0", 0), ("7", 7), ("007", 7), ("4294967295", 2**32 - 1)])
def test_the_base_seed_is_course_seed_or_0(text, number, settings):
    if text is not None:
        settings.setenv("COURSE_SEED", text)
    assert runtime.base_seed() == number


@pytest.mark.parametrize("text", ["-1", "1.5", "", "one", "1e3", " 1", "4294967296"])
def test_a_bad_seed_is_refused_by_name(text, settings):
    settings.setenv("COURSE_SEED", text)
    with pytest.raises(ValueError, match=re.escape(f"COURSE_SEED: expected a whole number from 0 to 2**32 - 1, got {text!r}")):
        runtime.base_seed()


def numbers() -> tuple[float, float, float]:
    """The next number of python, numpy and torch."""
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_seed_makes_python_numpy_and_torch_repeatable(settings):
    assert runtime.seed(3) == 3
    first = numbers()
    assert runtime.seed(4) == 4
    other = numbers()
    assert all(a != b for a, b in zip(first, other))
    runtime.seed(3)
    assert numbers() == first
    settings.setenv("COURSE_SEED", "3")
    assert runtime.seed() == 3 and numbers() == first
    settings.delenv("COURSE_SEED")
    assert runtime.seed() == 0 and numbers() != first


def draw(*key: object) -> list[float]:
    return torch.rand(5, generator=runtime.generator(*key)).tolist()


def test_the_same_key_gives_the_same_numbers_whatever_was_drawn_elsewhere():
    runtime.seed(1)
    first = draw("noise", 3)
    runtime.seed(2)
    draw("other"), numbers()
    assert draw("noise", 3) == first


def test_drawing_from_a_stream_leaves_the_global_state_alone():
    runtime.seed(1)
    expected = numbers()
    runtime.seed(1)
    draw("noise")
    assert numbers() == expected


def test_other_keys_and_other_seeds_give_other_numbers(settings):
    keys = [(), ("a",), ("b",), ("a", 0), ("a", 1), ("a", "0"), ("a", 0, 0), ("a0",), (0,), (1,)]
    seen = [draw(*key) for key in keys]
    for number in ("1", "2", "10"):
        settings.setenv("COURSE_SEED", number)
        seen += [draw(*key) for key in keys]
    assert len({tuple(s) for s in seen}) == len(keys) * 4


def test_a_stream_is_the_same_in_every_process_and_on_every_machine():
    assert runtime.generator("noise", 3).initial_seed() == 1971917787806227002


def test_a_stream_lives_on_the_device_asked_for():
    assert runtime.generator("a").device == torch.device("cpu")
    assert runtime.generator("a", on=torch.device("cpu")).initial_seed() == runtime.generator("a").initial_seed()


def test_streams_live_on_the_cpu_wherever_tensors_are_made_by_default():
    wanted = draw("a")
    try:
        torch.set_default_device("meta")
        stream = runtime.generator("a")
        runtime.seed(3)
    finally:
        torch.set_default_device(None)
    assert stream.device == torch.device("cpu") and torch.rand(5, generator=stream).tolist() == wanted


# --- profile and start ---------------------------------------------------------------------------------------------

def test_the_profile_is_quick_unless_full_is_asked_for(settings):
    assert runtime.profile() == "quick"
    settings.setenv("COURSE_PROFILE", "full")
    assert runtime.profile() == "full"


@pytest.mark.parametrize("name", ["fast", "", "Quick"])
def test_an_unknown_profile_lists_the_names(name, settings):
    settings.setenv("COURSE_PROFILE", name)
    for call in (runtime.profile, lambda: runtime.start("01_demo", quick={}, full={})):
        with pytest.raises(ValueError, match=f"^COURSE_PROFILE: expected one of quick, full, got '{name}'$"):
            call()


def test_start_gives_the_numbers_of_the_profile(settings):
    settings.setenv("COURSE_DEVICE", "cpu")
    settings.setenv("COURSE_SEED", "5")
    quick, full = {"steps": 10, "pictures": "digits"}, {"steps": 1000, "pictures": "mnist"}
    assert runtime.start("01_demo", quick=quick, full=full) == SimpleNamespace(steps=10, pictures="digits", device=torch.device("cpu"), seed=5)
    settings.setenv("COURSE_PROFILE", "full")
    assert runtime.start("01_demo", quick=quick, full=full) == SimpleNamespace(steps=1000, pictures="mnist", device=torch.device("cpu"), seed=5)


@pytest.mark.parametrize("profile", ["quick", "full"])
@pytest.mark.parametrize("quick, full", [({"a": 1, "b": 2}, {"a": 1}), ({"a": 1}, {"a": 1, "b": 2}), ({"a": 1, "b": 2}, {"a": 1, "c": 2})])
def test_profiles_with_different_settings_are_refused(profile, quick, full, settings, capsys):
    settings.setenv("COURSE_PROFILE", profile)
    message = f"full: expected the settings of quick ({', '.join(quick)}), got {', '.join(full)}"
    with pytest.raises(ValueError, match=re.escape(message)):
        runtime.start("01_demo", quick=quick, full=full)
    assert capsys.readouterr().out == ""


def test_start_seeds_everything(settings):
    settings.setenv("COURSE_SEED", "9")
    runtime.seed(9)
    expected = numbers()
    runtime.seed(1)
    runtime.start("01_demo", quick={}, full={})
    assert numbers() == expected


def test_start_prints_device_profile_seed_and_time(settings, capsys):
    settings.setenv("COURSE_DEVICE", "cpu")
    settings.setenv("COURSE_SEED", "2")
    settings.setattr(torch, "__version__", "2.15.0+cu130")
    settings.setattr(torch, "get_num_threads", lambda: 4)
    settings.setattr(runtime, "recorded_seconds", lambda notebook: {"cpu": {"seconds": 90, "machine": f"the machine of {notebook}"}})
    runtime.start("01_demo", quick={}, full={})
    assert capsys.readouterr().out.splitlines() == [
        "device  cpu (4 threads), torch 2.15.0", "precision float32", "profile quick, seed 2", "time    01_demo: took 1.5 min on the machine of 01_demo when last measured",
    ]


def test_start_names_the_gpu_and_its_precision_without_initialising_it(settings, capsys):
    machine_with(settings, cuda=True, mps=False)
    runtime.start("01_demo", quick={}, full={}, threads=torch.get_num_threads())
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("device  cuda (2 GPUs), torch ")
    assert second == f"precision {precision.describe(torch.device('cuda'))}"


CPU_TIME = {"cpu": {"seconds": 60, "machine": "2 cores"}}


@pytest.mark.parametrize("profile, device, times, line", [
    ("quick", "cpu", {}, "not timed yet"),
    ("quick", "cuda", {}, "not timed yet"),
    ("quick", "cuda", CPU_TIME, "not measured on cuda yet; 1.0 min on 2 cores"),
    ("full", "cuda", CPU_TIME | {"cuda": {"seconds": 120, "machine": "Some GPU"}}, "took 2.0 min on Some GPU when last measured"),
    ("full", "cpu", {"cuda": {"seconds": 120, "machine": "Some GPU"}}, "the full profile expects a GPU; on a CPU it can take hours (COURSE_PROFILE=quick takes minutes)"),
    ("full", "cpu", CPU_TIME, "took 1.0 min on 2 cores when last measured"),
])
def test_the_time_line_says_what_the_device_means(profile, device, times, line, settings, capsys):
    machine_with(settings, cuda=True, mps=False)
    settings.setenv("COURSE_PROFILE", profile)
    settings.setenv("COURSE_DEVICE", device)
    settings.setattr(runtime, "recorded_seconds", lambda notebook: times)
    runtime.start("01_demo", quick={}, full={})
    assert capsys.readouterr().out.splitlines()[3] == f"time    01_demo: {line}"


def test_recorded_times_are_those_of_the_notebook_and_profile(settings, tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "times.json").write_text('{"01_demo": {"quick": {"cpu": {"seconds": 3, "machine": "m"}}}}')
    settings.setattr(runtime, "_PACKAGE", tmp_path)
    assert runtime.recorded_seconds("01_demo") == {"cpu": {"seconds": 3, "machine": "m"}}
    assert runtime.recorded_seconds("02_demo") == {}
    settings.setenv("COURSE_PROFILE", "full")
    assert runtime.recorded_seconds("01_demo") == {}


# --- folders -----------------------------------------------------------------------------------------------------

FOLDERS = [(runtime.data_dir, "COURSE_DATA_DIR", "data"), (runtime.build_dir, "COURSE_BUILD_DIR", "build")]


@pytest.mark.parametrize("folder, variable, name", FOLDERS)
def test_folders_stand_in_the_checkout(folder, variable, name, settings, tmp_path):
    assert folder() == ROOT / name
    settings.setattr(runtime, "checkout", lambda: tmp_path)
    assert folder() == tmp_path / name


@pytest.mark.parametrize("folder, variable, name", FOLDERS)
def test_without_a_checkout_folders_stand_in_the_users_cache(folder, variable, name, settings, tmp_path):
    settings.setattr(runtime, "checkout", lambda: None)
    settings.setattr(platformdirs, "user_cache_dir", lambda app: str(tmp_path / app))
    assert folder() == tmp_path / "gan-adversarial-course" / name


@pytest.mark.parametrize("root", [None, ROOT])
@pytest.mark.parametrize("folder, variable, name", FOLDERS)
def test_the_environment_moves_a_folder(folder, variable, name, root, settings, tmp_path):
    settings.setattr(runtime, "checkout", lambda: root)
    settings.setenv(variable, str(tmp_path / "else where"))
    assert folder() == tmp_path / "else where"
    settings.setenv("HOME", str(tmp_path))
    settings.setenv("USERPROFILE", str(tmp_path))
    settings.setenv(variable, "~/mine")
    assert folder() == tmp_path / "mine"


def test_nothing_here_needs_a_home_or_a_folder_that_can_be_read(settings, tmp_path):
    """A container's user may have no home at all; a locked folder answers every question with PermissionError."""
    settings.delenv("HOME", raising=False)
    settings.delenv("USERPROFILE", raising=False)
    settings.setattr("os.path.expanduser", lambda path: path)  # what it does for a user that the system doesn't know
    settings.setenv("COURSE_DATA_DIR", "~/mine")
    assert runtime.data_dir() == Path("~/mine")

    def locked(*_args, **_more):
        raise PermissionError

    settings.setattr("os.stat", locked)
    settings.setattr(Path, "stat", locked)
    assert runtime.checkout() is None
    settings.setattr(platformdirs, "user_cache_dir", lambda app: str(tmp_path / app))
    assert runtime.build_dir() == tmp_path / "gan-adversarial-course" / "build"


def test_the_folders_have_a_variable_each(settings, tmp_path):
    settings.setenv("COURSE_DATA_DIR", str(tmp_path / "d"))
    assert runtime.build_dir() == ROOT / "build"
    settings.setenv("COURSE_BUILD_DIR", str(tmp_path / "b"))
    assert (runtime.data_dir(), runtime.build_dir()) == (tmp_path / "d", tmp_path / "b")


def test_a_checkout_has_the_metadata_and_the_notebooks(settings, tmp_path):
    assert runtime.checkout() == ROOT
    settings.setattr(runtime, "_PACKAGE", tmp_path / "course_utils")
    assert runtime.checkout() is None
    (tmp_path / "notebooks").mkdir()
    assert runtime.checkout() is None
    (tmp_path / "pyproject.toml").touch()
    assert runtime.checkout() == tmp_path
    (tmp_path / "notebooks").rmdir()
    assert runtime.checkout() is None


# --- validate ----------------------------------------------------------------------------------------------------

IMAGES = torch.linspace(0, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
LABELS = torch.tensor([0, 3, 9])


def changed(value: float) -> torch.Tensor:
    """IMAGES with one value changed."""
    images = IMAGES.clone()
    images[1, 2, 3, 3] = value
    return images


@pytest.mark.parametrize("call, arguments", [
    (validate.expect, (True, "n", "x", "y")),
    (validate.expect_choice, ("b", "name", ("a", "b"))),
    (validate.expect_count, (1, "k")), (validate.expect_count, (7, "k", 7)), (validate.expect_count, (0, "k", 0)),
    (validate.expect_positive, (1e-9, "eps")), (validate.expect_positive, (3, "eps")), (validate.expect_positive, (1e300, "eps")),
    (validate.expect_images, (IMAGES,)), (validate.expect_images, (torch.zeros(1, 1, 1, 1),)), (validate.expect_images, (torch.ones(1, 1, 1, 1, dtype=torch.float64),)),
    (validate.expect_images, (IMAGES.clone().requires_grad_(),)), (validate.expect_images, (IMAGES.half(),)), (validate.expect_images, (IMAGES.bfloat16(),)),
    (validate.expect_labels, (LABELS, 10, 3)), (validate.expect_labels, (torch.tensor([], dtype=torch.int64), 10, 0)),
])
def test_good_input_is_accepted(call, arguments):
    assert call(*arguments) is None


@pytest.mark.parametrize("call, arguments, message", [
    (validate.expect, (False, "k", "1 or more", -3), "k: expected 1 or more, got -3"),
    (validate.expect_choice, ("c", "name", ("a", "b")), "name: expected one of a, b, got 'c'"),
    (validate.expect_choice, (None, "name", ("a", "b")), "name: expected one of a, b, got None"),
    (validate.expect_count, (0, "k"), "k: expected a whole number of at least 1, got 0"),
    (validate.expect_count, (6, "k", 7), "k: expected a whole number of at least 7, got 6"),
    (validate.expect_count, (2.0, "k"), "k: expected a whole number of at least 1, got 2.0"),
    (validate.expect_count, (True, "k"), "k: expected a whole number of at least 1, got True"),
    (validate.expect_count, ("2", "k"), "k: expected a whole number of at least 1, got '2'"),
    (validate.expect_count, (None, "k"), "k: expected a whole number of at least 1, got None"),
    (validate.expect_positive, (0, "eps"), "eps: expected a finite number above 0, got 0"),
    (validate.expect_positive, (-0.1, "eps"), "eps: expected a finite number above 0, got -0.1"),
    (validate.expect_positive, (float("inf"), "eps"), "eps: expected a finite number above 0, got inf"),
    (validate.expect_positive, (float("nan"), "eps"), "eps: expected a finite number above 0, got nan"),
    (validate.expect_positive, (True, "eps"), "eps: expected a finite number above 0, got True"),
    (validate.expect_positive, ("1", "eps"), "eps: expected a finite number above 0, got '1'"),
    (validate.expect_images, (IMAGES.numpy(),), "images: expected a torch.Tensor (N, C, H, W), got ndarray"),
    (validate.expect_images, (None, "real"), "real: expected a torch.Tensor (N, C, H, W), got NoneType"),
    (validate.expect_images, (IMAGES[0],), "images: expected the shape (N, C, H, W), got the shape (3, 4, 4)"),
    (validate.expect_images, ((IMAGES * 255).byte(), "real"), "real: expected a floating point dtype, values in [0, 1], got torch.uint8"),
    (validate.expect_images, (IMAGES[:0],), "images: expected at least one picture, got the shape (0, 3, 4, 4)"),
    (validate.expect_images, (changed(float("nan")),), "images: expected no NaN, got NaN among the values"),
    (validate.expect_images, (changed(-0.001), "real"), "real: expected values in [0, 1], got values in [-0.001, 0.9895]"),
    (validate.expect_images, (changed(1.001),), "images: expected values in [0, 1], got values in [0, 1.001]"),
    (validate.expect_images, (changed(float("inf")),), "images: expected values in [0, 1], got values in [0, inf]"),
    (validate.expect_images, (changed(-float("inf")),), "images: expected values in [0, 1], got values in [-inf, 0.9895]"),
    (validate.expect_labels, ([0, 1], 10, 2), "labels: expected a torch.Tensor of class numbers, got list"),
    (validate.expect_labels, (LABELS.int(), 10, 3), "labels: expected dtype torch.int64, got torch.int32"),
    (validate.expect_labels, (LABELS.float(), 10, 3, "y"), "y: expected dtype torch.int64, got torch.float32"),
    (validate.expect_labels, (LABELS, 10, 4), "labels: expected the shape (4,), got the shape (3,)"),
    (validate.expect_labels, (LABELS[:, None], 10, 3), "labels: expected the shape (3,), got the shape (3, 1)"),
    (validate.expect_labels, (LABELS, 9, 3), "labels: expected class numbers from 0 to 8, got 0 to 9"),
    (validate.expect_labels, (LABELS - 1, 10, 3, "y"), "y: expected class numbers from 0 to 9, got -1 to 8"),
])
def test_bad_input_is_refused_with_argument_expected_and_got(call, arguments, message):
    with pytest.raises(ValueError) as refusal:
        call(*arguments)
    assert str(refusal.value) == message


def test_start_sets_the_threads_it_is_given(settings):
    asked = []
    settings.setattr(torch, "set_num_threads", asked.append)
    start = functools.partial(runtime.start, "01_demo", quick={}, full={})
    start()
    start(threads=3)
    assert asked == [3]
    with pytest.raises(ValueError, match="threads: expected a whole number of at least 1, got 0"):
        start(threads=0)
