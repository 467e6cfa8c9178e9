"""Real signals to real processes: the first is a wish, the second Ctrl-C an order."""

import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from tlearn.train.interrupt import Interruption

LOOP = """
    import signal, sys, time
    from tlearn.train.interrupt import Interruption
    signal.signal(signal.SIGINT, {handler})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    def say(text):
        print(text, flush=True)
    with Interruption(say) as interruption:
        say("ready")
        try:
            while not interruption.requested:
                time.sleep(0.01)
            say(f"asked {{interruption.signal}} {{interruption.exit_code}}")
            {then}
        except KeyboardInterrupt:
            say("at once")
    say(f"put back {{signal.getsignal(signal.SIGTERM) == signal.SIG_DFL}} "
        f"{{signal.getsignal(signal.SIGINT) == {handler}}}")
"""


def start(handler: str = "signal.default_int_handler", then: str = "pass") -> subprocess.Popen:
    code = textwrap.dedent(LOOP.format(handler=handler, then=then))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert line(process) == "ready"
    return process


def line(process: subprocess.Popen) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_is_a_wish(number):
    process = start()
    process.send_signal(number)
    assert line(process).startswith(f"{number.name}: saving after this step")
    assert line(process) == f"asked {number.name} {128 + number}"
    assert line(process) == "put back True True"
    assert process.wait(30) == 0


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_is_an_order(first):
    process = start(then="time.sleep(60)")
    process.send_signal(first)
    line(process)
    assert line(process).startswith("asked")
    # A scheduler that repeats SIGTERM does not cut the save short.
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert line(process) == "at once"
    assert line(process) == "put back True True"
    assert process.wait(30) == 0


def test_an_ignored_signal_stays_ignored():
    process = start(handler="signal.SIG_IGN")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert line(process).startswith("SIGTERM: saving")
    assert line(process) == "asked SIGTERM 143"
    assert line(process) == "put back True True"
    assert process.wait(30) == 0


def test_it_is_inert_outside_the_main_thread():
    seen = []

    def work():
        before = signal.getsignal(signal.SIGTERM)
        with Interruption() as interruption:
            seen.append(signal.getsignal(signal.SIGTERM) == before)
            seen.append(interruption.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True, False]


def test_nothing_came():
    with Interruption() as interruption:
        assert not interruption.requested
        assert interruption.signal is None
        assert interruption.exit_code == 0


def test_a_signal_in_the_middle_of_a_print_is_told_afterwards():
    told, busy = [], True

    def say(text):
        if busy:
            raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stdout>'>")
        told.append(text)

    with Interruption(say) as interruption:
        signal.raise_signal(signal.SIGTERM)
        busy = False
        assert told == []
        assert interruption.requested
        assert interruption.requested
    assert len(told) == 1
    assert told[0].startswith("SIGTERM: saving after this step")
