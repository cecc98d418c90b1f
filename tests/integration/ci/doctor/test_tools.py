"""Asking programs: there is always an answer, within a bounded time, and nothing is left running."""

import psutil

from kvsync.testing.processes.tools import ToolAnswer, Tools
from kvsync.testing.processes.wait import wait_for
from tests.integration.ci.conftest import Programs


def test_an_answer_has_what_was_printed_and_why_it_failed(programs: Programs) -> None:
    """Output, errors and exit code are kept; the reason is the last line that is not advice."""
    programs("docker", "hello) echo one; echo two >&2; echo \"Run 'docker --help' for more\" >&2; exit 3")

    answer = programs.tools.ask("docker", "hello")

    assert answer == ToolAnswer(exit_code=3, output="one\n", errors="two\nRun 'docker --help' for more\n")
    assert (answer.ok, answer.reason) == (False, "two")


def test_a_silent_failure_has_its_exit_code_for_a_reason(programs: Programs) -> None:
    """There is always something to show."""
    programs("kind", "version) exit 7")

    assert programs.tools.ask("kind", "version").reason == "exit code 7"


def test_a_program_that_is_not_there_is_an_answer() -> None:
    """Nothing is raised, and the reason says it."""
    answer = Tools("/nowhere").ask("kind", "version")

    assert (answer.ok, answer.exit_code, answer.reason) == (False, None, "kind is not installed")


def test_a_program_that_cannot_be_run_is_an_answer(programs: Programs) -> None:
    """A file that is executable and not a program has its reason, too."""
    script = programs.folder / "kind"
    script.write_text("#!/nowhere/sh\n")
    script.chmod(0o755)

    answer = programs.tools.ask("kind", "version")

    assert not answer.ok
    assert "kind" in answer.reason


def test_a_program_that_hangs_is_killed_with_all_it_started(programs: Programs) -> None:
    """The answer does not wait for a child of the program that keeps its output open."""
    programs("docker", "info) /bin/sleep 4321 & /bin/sleep 4321")

    answer = programs.tools.ask("docker", "info", timeout_s=0.3)

    assert (answer.exit_code, answer.reason) == (None, "docker did not answer within 0.3 s")
    wait_for(lambda: not sleeping(), what="its children are gone", timeout_s=5)


def test_what_a_program_said_before_its_time_was_up_is_kept(programs: Programs) -> None:
    """It is not output, which would be whole, and the reason is still the time limit."""
    programs("kubectl", "describe) echo half; echo -n warned >&2; exec /bin/sleep 60")

    answer = programs.tools.ask("kubectl", "describe", timeout_s=1.0)

    assert (answer.output, answer.errors) == ("", "half\nwarned\nkubectl did not answer within 1 s")
    assert answer.reason == "kubectl did not answer within 1 s"


def sleeping() -> list[psutil.Process]:
    """Return the processes that the program above started."""
    return [
        each for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == ["/bin/sleep", "4321"]
    ]


def test_programs_find_each_other_on_the_search_path(programs: Programs) -> None:
    """kind calls the docker that we would call."""
    programs("docker", "ps) echo cluster-1")
    programs("kind", "get*) docker ps")

    assert programs.tools.ask("kind", "get", "clusters").lines == ["cluster-1"]


def test_a_program_reads_its_input(programs: Programs) -> None:
    """Text is handed over; without any, the input is at its end at once."""
    programs("kubectl", "create) /bin/cat; echo .")

    assert programs.tools.ask("kubectl", "create", text="some\nlines\n").lines == ["some", "lines", "."]
    assert programs.tools.ask("kubectl", "create").lines == ["."]


def test_output_that_is_not_a_json_object_is_an_empty_document() -> None:
    """A reader needs no error path of its own."""
    assert ToolAnswer(exit_code=0, output='{"a": 1}').document == {"a": 1}
    assert ToolAnswer(exit_code=0, output="[1]").document == {}
    assert ToolAnswer(exit_code=0, output="{").document == {}
