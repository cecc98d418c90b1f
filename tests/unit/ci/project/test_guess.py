"""What a repository without `stages.toml` looks like, and the file that is written for it."""

import json
import tomllib
from pathlib import Path

import pytest

from kvsync.ci.project.choice import stages_of
from kvsync.ci.project.guess import guess, guess_with_preparation, packages_to_name
from kvsync.ci.project.reading import parse_project, read_project
from kvsync.ci.project.writing import as_toml
from kvsync.errors import ConfigError


def make(folder: Path, **files: str) -> Path:
    """Write files, named with __ for / and _dot_ for a dot."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def stages(folder: Path) -> dict[str, object]:
    """Return what each stage would run."""
    found = guess(folder)["stages"]
    return {name: table.get("command") or table["folder"] for name, table in found.items()}


def test_each_customary_folder_of_tests_is_a_stage(tmp_path: Path) -> None:
    """In the order of a run; what has no tests is none."""
    make(
        tmp_path,
        tests__e2e__test_x_dot_py="",
        tests__unit__deep__x_test_dot_py="",
        tests__data__x_dot_py="",
        tests__conftest_dot_py="",
    )

    found = read_project(tmp_path)

    assert {name: stage.folder for name, stage in stages_of(found).items()} == {
        "unit": "tests/unit",
        "e2e": "tests/e2e",
    }


def test_no_test_is_left_out_of_a_guess(tmp_path: Path) -> None:
    """Where some lie beside the folders, or in one that cannot name a stage, all of them are one stage."""
    beside = make(tmp_path / "a", tests__unit__test_x_dot_py="", tests__test_y_dot_py="")
    odd = make(tmp_path / "b", tests__unit__test_x_dot_py="", tests__Odd__test_y_dot_py="")

    assert (stages(beside), stages(odd)) == ({"unit": "tests"}, {"unit": "tests"})


@pytest.mark.parametrize(
    "folder", [".venv", "venv", "node_modules", "vendor", "target", "build", ".tox", "site-packages"]
)
def test_what_tools_put_there_is_not_the_projects(tmp_path: Path, folder: str) -> None:
    """Packages that were installed, fetched or built bring tests of their own."""
    make(tmp_path, tests__unit__test_x_dot_py="")
    make(tmp_path / "tests" / folder / "x", tests__test_y_dot_py="", test_z_dot_py="")
    make(tmp_path, pyproject_dot_toml="[project]")
    for package in (folder, "mine"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()

    assert stages(tmp_path) == {"unit": "tests/unit"}
    assert packages_to_name(tmp_path) == ["mine"]


def test_an_environment_is_known_under_any_name(tmp_path: Path) -> None:
    """Each has a file that says what it is."""
    make(tmp_path, tests__env__pyvenv_dot_cfg="", tests__env__lib__test_x_dot_py="")

    assert stages(tmp_path) == {}


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"go_dot_mod": ""}, ["go", "test", "-json", "./..."]),
        ({"Cargo_dot_toml": ""}, ["cargo", "test"]),
        ({"pom_dot_xml": ""}, ["mvn", "--batch-mode", "test"]),
        ({"build_dot_gradle": "", "gradlew": ""}, ["./gradlew", "test", "--rerun-tasks"]),
        ({"Makefile": "all:\n\ntest: all\n\tx\n"}, ["make", "test"]),
        ({"package_dot_json": json.dumps({"scripts": {"test": "jest"}})}, ["npm", "test"]),
        (
            {"package_dot_json": json.dumps({"scripts": {"test": "node --test src"}})},
            [
                "node",
                "--test",
                "--test-reporter=junit",
                "--test-reporter-destination={out}/junit.xml",
                "src",
            ],
        ),
    ],
    ids=["go", "rust", "maven", "gradle", "make", "npm", "node"],
)
def test_other_languages(tmp_path: Path, files: dict[str, str], command: list[str]) -> None:
    """Their usual command, and their result files where they write some."""
    assert list(stages(make(tmp_path, **files)).values()) == [command]


def test_a_makefile_counts_only_where_nothing_else_is_known(tmp_path: Path) -> None:
    """It mostly runs the same tests."""
    make(tmp_path, go_dot_mod="", Makefile="test:\n")

    assert list(stages(tmp_path)) == ["go"]


@pytest.mark.parametrize("text", ["{", "[]", '{"scripts": 3}', '{"scripts": {}}'])
def test_a_malformed_package_is_no_stage(tmp_path: Path, text: str) -> None:
    """Nothing is guessed from it."""
    assert stages(make(tmp_path, package_dot_json=text)) == {}


def test_what_is_not_recognised_says_how_to_go_on(tmp_path: Path) -> None:
    """There is no run without stages."""
    with pytest.raises(ConfigError, match="shows how to write one"):
        read_project(tmp_path)


def test_a_first_file_prepares_what_is_needed_and_is_read_again(tmp_path: Path) -> None:
    """What is written is what would be run, with an environment of the project's own."""
    make(
        tmp_path / "x",
        tests__unit__test_x_dot_py="",
        pyproject_dot_toml="[project]\n",
        requirements_dot_lock="",
        package_dot_json=json.dumps({"scripts": {"test": "jest"}}),
        package_lock_dot_json="",
    )
    (tmp_path / "x" / "package-lock.json").write_text("{}")
    document = guess_with_preparation(tmp_path / "x")
    text = as_toml(document)

    assert tomllib.loads(text) == document
    assert document["project"] == {
        "name": "x",
        "prepare": [
            ["python3", "-m", "venv", ".venv"],
            [".venv/bin/pip", "install", "--quiet", "pytest", "-r", "requirements.lock", "-e", "."],
            ["npm", "ci"],
        ],
        "prepared_from": ["pyproject.toml", "requirements.lock", "package-lock.json"],
    }
    assert document["stages"]["unit"]["python"] == ".venv/bin/python"
    assert list(parse_project(text).stages) == ["unit", "node"]


def test_settings_of_tools_are_no_package(tmp_path: Path) -> None:
    """A `pyproject.toml` that only holds them cannot be installed."""
    make(
        tmp_path,
        tests__test_x_dot_py="",
        pyproject_dot_toml="[tool.pytest.ini_options]\n",
        requirements_dot_txt="",
    )

    assert guess_with_preparation(tmp_path)["project"]["prepare"][-1] == [
        ".venv/bin/pip",
        "install",
        "--quiet",
        "pytest",
        "-r",
        "requirements.txt",
    ]


@pytest.mark.parametrize(
    ("files", "packages"),
    [
        ({"pyproject_dot_toml": "[project]\n"}, ["shop"]),
        ({"pyproject_dot_toml": "[build-system]\nbuild-backend = 'hatchling.build'\n"}, []),
        ({"pyproject_dot_toml": "[project]\n[tool.setuptools]\npackages = ['shop']\n"}, []),
        ({"pyproject_dot_toml": "[project]\n", "src__x_dot_py": ""}, []),
        ({"pyproject_dot_toml": "[tool.ruff]\n"}, []),
        ({}, []),
    ],
    ids=["setuptools", "another backend", "named", "in src", "no package", "none"],
)
def test_packages_that_setuptools_would_look_for_have_to_be_named(
    tmp_path: Path, files: dict[str, str], packages: list[str]
) -> None:
    """It would find the folder of the runs beside them, and refuse to build."""
    make(tmp_path, shop__x_dot_py="", tests__test_x_dot_py="", **files)
    for folder in ("shop", "tests"):
        (tmp_path / folder / "__init__.py").touch()

    assert packages_to_name(tmp_path) == packages
