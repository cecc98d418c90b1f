"""What the numbered frames of one publisher mean: deliver, ask for a replay, restore, or forget.

Rules:

1. Frames are numbered from 0 and delivered once, in order. A frame ahead of its turn waits.
2. A gap is closed by a replay, which starts at frames that were delivered already: their digests must agree.
3. A replay may lose frames anywhere, and its end. What came is kept, and the rest is asked for again as long
   as each answer brings something; that is how a long history comes in steps.
4. The publisher restarted when a known number comes with other content, or when its ring ends before a
   delivered frame. Then everything is forgotten and replayed from 0.
5. A replay that begins after the wanted frame means lost history: forget, deliver what is there, DEGRADED.
6. A replay that fails or brings nothing new is repeated a few times. Then the source is DEGRADED and every
   probe tries to mend it. It is served on live frames, unless the ring agreed with what was delivered: that
   is never forgotten for want of the frames after it.
7. A frame that empties the cache makes up for all that was lost before it.
8. Replays that contradict the live frames again and again are another publisher's, and not believed.
9. EXACT is claimed only after the publisher's own ring confirmed that nothing is missing: an answer reached
   its end that was too short to have lost anything, or one more answer ended at the same frame, or live
   frames followed on from it.
10. What an earlier process remembered counts for nothing until a replayed frame is one that it had delivered.
   Nothing is delivered before; a contradiction, lost history or a ring that gives no answer ends it.

Reasons: a publisher's restart is not announced, and its numbers start again at 0, so a new frame can carry
the very number that is due; only content tells it apart. Therefore a replay reaches back to the last frame
that a replay confirmed. What waits when a connection breaks or a restart is noticed may belong to either life
of the publisher, so it is dropped: the replay asked for afterwards holds whatever is still true. The last
frame published can be lost without a gap, which only a probe finds. The publisher does not say that its ring
lost the wanted history, it silently begins at the oldest frame it has. vLLM and SGLang send their whole ring
at once through a ROUTER that keeps 1000 messages for each peer and drops what is beyond them without a word,
the end marker too. One who has fallen behind is told by replays of frames that are still on their way to him.
"""

from collections.abc import Sequence
from dataclasses import replace

from xxhash import xxh3_64_intdigest

from kvsync.sequence.values import (
    Counters,
    Deliver,
    Forget,
    Memory,
    Replay,
    Restore,
    RunningReplay,
    State,
    Step,
)

WINDOW = 1024
"""Delivered frames whose digests are remembered: far more than a network reorders or repeats."""

REMEMBERED = 64
"""Of these, what outlives the process: a ring that still has one of these frames proves whose it is."""

MAX_WAITING = 10_000
"""Frames kept ahead of their turn: as many as vLLM's ring holds, so what is dropped can be replayed."""

MAX_WAITING_BYTES = 64 * 2**20
"""What they may take together: 10 000 frames that each announce 64 blocks."""

FITS = 500
"""Frames of an answer that lost nothing if its end came: half of what the queue of a ROUTER holds, because it
learns only of each half that it is empty again."""

MAX_ROUNDS = 200
"""Replays in a row, each of which brought something, before a probe's time is waited for: twenty rings."""

RETRIES = 3
"""Replays without progress or answer before the source is served as it is."""

FIRST_DELAY_S = 0.1
"""Wait before the first retry; it doubles with each."""

MAX_CONFLICTS = 3
"""Contradictions in a row between replays and live frames: a publisher that restarts causes one or two."""

_FOREIGN = "the replay endpoint answers for another publisher: give that of the same engine and rank"

MAX_HEALS = 3
"""Full replays made to mend an unreadable frame; the ring is large and may hold the same bytes."""


class SequenceTracker:
    """The state of one publisher. Does no input or output and has no clock.

    Methods return the steps to take, in order. A Replay step replaces the replay that runs. `replays` says
    whether the publisher has a replay endpoint: without one, a Replay step only gives late frames time to
    arrive, so none is counted, and a probe asks nothing. An answer of fewer than `fits` frames whose end came
    counts as complete. What is remembered (`memory`) needs replays to be proved.
    """

    def __init__(self, *, replays: bool = True, fits: int = FITS, memory: Memory | None = None) -> None:
        self.state = State.BLIND
        self.reason = "not connected yet"
        self.last: int | None = None
        self.live: int | None = None
        self.counters = Counters()
        self._waiting: dict[int, bytes] = {}
        self._waiting_bytes = 0
        self._heard = -1  # newest frame that came live in this connection
        self._digests: dict[int, int] = {}
        self._confirmed: int | None = None
        self._replays = replays
        self._replay: RunningReplay | None = None
        self._fits = fits
        self._attempts = 0
        self._rounds = 0
        self._flaw = ""  # why history is incomplete, even if the live frames are in order
        self._healable = False
        self._heals = 0
        self._conflicts, self._answered = 0, False  # contradictions in a row; a replay came since the last
        self._foreign = self._compared = False  # replays are another publisher's; they were looked at for it
        self._unproved = memory is not None and replays
        if memory and replays:
            first = memory.last + 1 - len(memory.digests)
            self.last = self.live = memory.last
            self._digests = dict(enumerate(memory.digests, first))
            self._flaw, self._healable = memory.flaw, memory.healable

    @property
    def memory(self) -> Memory | None:
        """What can outlive this process; None: nothing that a publisher's ring could prove."""
        if self.last is None or self._unproved or self._foreign or not self._replays:
            return None
        first = self.last
        while first - 1 in self._digests and self.last - first < REMEMBERED - 1:
            first -= 1
        digests = tuple(self._digests[number] for number in range(first, self.last + 1))
        return Memory(last=self.last, digests=digests, flaw=self._flaw, healable=self._healable)

    @property
    def is_full(self) -> bool:
        """Whether a live frame might be dropped now, because too many wait already."""
        return len(self._waiting) >= MAX_WAITING or self._waiting_bytes >= MAX_WAITING_BYTES

    def connected(self) -> list[Step]:
        """Take note of a new connection: what was missed meanwhile is asked for."""
        self._heard, self._conflicts, self._foreign, self._compared = -1, 0, False, False
        self._drop_waiting()
        self._catch_up(
            f"connected, and asked for proof of what is remembered up to frame {self.last}"
            if self._unproved
            else "connected, history is on its way"
        )
        return self._ask(heals=self._healable)

    def disconnected(self) -> list[Step]:
        """Take note of a lost connection; what is known is kept."""
        self._drop_waiting()
        self._replay = None
        self.state, self.reason = State.BLIND, "not connected"
        return []

    def follow(self, numbers: Sequence[int], payloads: Sequence[bytes]) -> int:
        """Note those of these live frames as delivered that are simply next; returns how many."""
        if self.state in (State.BLIND, State.CATCHING_UP):
            return 0
        first, count, digests = self._next(), 0, self._digests
        for number, payload in zip(numbers, payloads, strict=True):
            if number != first + count:
                break
            digests[number] = xxh3_64_intdigest(payload)
            count += 1
        if count:
            self.last, self._conflicts = first + count - 1, 0
            self.live, self._heard = max(self.live or 0, self.last), max(self._heard, self.last)
        while len(digests) > WINDOW:
            del digests[next(iter(digests))]
        return count

    def receive(self, number: int, payload: bytes) -> list[Step]:
        """Say what a live frame means. While not connected it means nothing: a replay will bring it."""
        if self.state is State.BLIND:
            return []
        newest, self._heard = self._heard, max(self._heard, number)
        if self.last is not None and number <= self.last:
            # Unknown and yet in order: it was replayed long before it arrived here.
            digest = self._digests.get(number)
            known = number > newest >= 0 if digest is None else digest == xxh3_64_intdigest(payload)
            if known and digest is None and self._replays and not (self._compared or self._replay):
                self._count("duplicates")
                return self._compare(number, payload)
        elif number in self._waiting:
            known = self._waiting[number] == payload
        else:
            return self._receive_new(number, payload)
        if known:
            self._conflicts = 0
            self._count("duplicates")
            return []
        steps = self._restarted(f"live frame {number} came with other content than before")
        return steps + self._receive_new(number, payload)

    def replayed(self, number: int, payload: bytes) -> list[Step]:
        """Say what a frame of the running replay means."""
        replay = self._replay
        if replay is None:
            return []
        if self._foreign:
            return self._believe() if self._digests.get(number) == xxh3_64_intdigest(payload) else []
        if replay.newest is not None and number <= replay.newest:
            return self.replay_failed(f"replay went from frame {replay.newest} back to frame {number}")
        if replay.newest is None and self._follows_live(replay, number):
            self._replay = None
            self._settle()
            return []
        steps = self._begin(replay, number) if replay.newest is None else []
        replay.torn |= replay.newest is not None and number != replay.newest + 1
        replay.newest, replay.frames, self._answered = number, replay.frames + 1, True
        if self.last is not None and number <= self.last:
            known = self._digests.get(number)
            agrees = known == xxh3_64_intdigest(payload) or (known is None and not self._unproved)
            if agrees and self._unproved:
                self._unproved = False
                steps.append(Restore())
        else:
            agrees = self._waiting.get(number, payload) == payload
            if agrees and number in self._waiting:
                self._conflicts = 0
        if not agrees:
            return steps + self._restarted(f"replayed frame {number} has other content than before")
        if number >= self._next():
            steps += self._bring(replay, number, payload)
        if not replay.torn and (self._confirmed is None or number > self._confirmed):
            replay.progress = True
            self._confirmed = number
        return steps

    def replay_ended(self, *, complete: bool = True) -> list[Step]:
        """Take note of an end marker: the publisher has nothing beyond this answer, unless that was lost.

        `complete` is False for a marker that may not be the answer's own.
        """
        replay, self._replay = self._replay, None
        if replay is None:
            return []
        if self._foreign:
            return self._give_up(_FOREIGN) if self._is_missing() else []
        complete = complete and not replay.torn and replay.frames < self._fits
        ends_early = replay.reach is not None and (replay.newest is None or replay.newest < replay.reach)
        reason = f"its ring ends before frame {replay.reach}"
        if ends_early and (complete or (not replay.progress and self._attempts == RETRIES)):
            return self._restarted(reason)
        steps = self._deliver_waiting()
        complete |= self.last is not None and replay.heard < self._heard <= self.last
        if replay.progress and not complete:
            return steps + self._continue()
        if ends_early:
            return steps + self._retry(replay, reason, answered=True)
        if replay.newest is None and self.last is None:  # it never published
            self._flaw, self._healable = "", False
        if not self._is_missing():
            self._attempts = self._rounds = 0
            self._settle()
            return steps
        if replay.progress or steps:
            return steps + self._continue()
        return self._retry(
            replay, "replays lack the missing frames, are they of the same engine and rank?", answered=True
        )

    def replay_failed(self, reason: str) -> list[Step]:
        """Take note of a replay without an answer, or without an end."""
        replay, self._replay = self._replay, None
        if replay is None:
            return []
        if self._replays:
            self._count("replay_failures")
        steps = self._deliver_waiting()
        if replay.progress or steps:
            self._attempts = 0
        return steps + self._retry(replay, reason, answered=False)

    def probe(self) -> list[Step]:
        """Ask, at times, whether the tail was lost or history can be mended; live frames go on meanwhile."""
        if self._replay or self.state is State.BLIND or not self._replays:
            return []
        if self._foreign and not self._digests:  # Nothing would ever tell.
            return self._believe()
        if self._healable:
            self._heals += 1
        self._rounds = 0
        return self._ask(heals=self._healable)

    def cleared(self, number: int) -> None:
        """Take note that a delivered frame emptied the cache: what came before it matters no more."""
        if self.last is None or any(n not in self._digests for n in range(number, self.last + 1)):
            return  # Something after it is missing, too, or it is too long ago to tell.
        self._flaw, self._healable, self._heals = "", False, 0
        if self._replay:
            self._replay.heals = False  # What it would bring back is gone.
        if self.state is State.DEGRADED and self._confirmed is not None:
            self._settle()

    def damaged(self, reason: str) -> None:
        """Take note that a delivered frame could not be read: history has a hole."""
        self._flaw, self._healable = reason, self._heals < MAX_HEALS
        if self.state in (State.EXACT, State.DEGRADED):
            self._settle()

    def _receive_new(self, number: int, payload: bytes) -> list[Step]:
        self.live = max(number, number if self.live is None else self.live)
        due = number == self._next() or (self.last is None and self._flaw != "")
        if due and self.state is not State.CATCHING_UP:
            self._conflicts = 0
            return [self._deliver(number, payload)]
        self._wait(number, payload)
        if self.state is State.CATCHING_UP:
            return []
        self._count("gaps")
        self._catch_up(f"frames {self._next()} to {number - 1} are missing")
        return self._ask()

    def _bring(self, replay: RunningReplay, number: int, payload: bytes) -> list[Step]:
        """Deliver a replayed frame, or let it wait for those before it."""
        is_new = number not in self._waiting
        if is_new and self.state is not State.CATCHING_UP:  # a probe found the tail that was lost
            self._count("gaps")
            self._catch_up(f"frames from {self._next()} on were missing")
        if number == self._next() or self.last is None:  # of a ring whose beginning is gone
            self._take_waiting(number)
            replay.progress = True
            return [self._deliver(number, payload, replayed=True)]
        if is_new:
            replay.progress |= self._wait(number, payload)
        return []

    def _follows_live(self, replay: RunningReplay, number: int) -> bool:
        """Whether the ring has moved beyond what live frames, which come without a hole, have reached yet."""
        last = -1 if self.last is None else self.last
        return number > last and replay.heard < self._heard <= last and not self._unproved

    def _begin(self, replay: RunningReplay, number: int) -> list[Step]:
        """Judge the first frame of a replay by where it begins."""
        if replay.heals and number == 0:
            replay.heals = False
            self._catch_up("history is complete again, on its way")
            return self._forget("the publisher still has its whole history")
        steps: list[Step] = []
        lost = number > (self.last or 0)  # also when only the proof is gone that it is the same publisher
        if lost:
            steps = self._forget(f"the ring begins at frame {number}, after frame {self.last}")
            for passed in [n for n in self._waiting if n < number]:
                self._take_waiting(passed)
        if lost or replay.heals:
            self._count("truncated")
            self._flaw = f"history before frame {number} is gone, until the engine clears its cache"
            self._healable = False
        return steps

    def _restarted(self, reason: str) -> list[Step]:
        if self._is_contradicted():
            return self._disown()
        self._count("restarts")
        steps = self._forget(f"the publisher restarted: {reason}")
        self._drop_waiting()
        self._heals = 0
        self._catch_up("the publisher restarted, its history is on its way")
        return steps + self._ask()

    def _compare(self, number: int, payload: bytes) -> list[Step]:
        """Ask once whether the ring holds a live frame as it came, although it was delivered long ago."""
        self._compared = True
        self._digests[number] = xxh3_64_intdigest(payload)
        return [Replay(number) for _ in self._ask()]

    def _is_contradicted(self) -> bool:
        """Count a contradiction between replays and live frames; returns whether there were too many."""
        self._conflicts, self._answered = self._conflicts + self._answered, False
        return self._conflicts >= MAX_CONFLICTS

    def _disown(self) -> list[Step]:
        """Serve live frames alone: whose replays these are is not known."""
        steps = self._forget(_FOREIGN)
        steps += [self._deliver(number, self._take_waiting(number)) for number in sorted(self._waiting)]
        self._replay, self._foreign, self._flaw = None, True, _FOREIGN
        self._settle()
        return steps

    def _believe(self) -> list[Step]:
        """Take replays for the publisher's own again: one agreed with a live frame."""
        self._foreign, self._conflicts = False, 0
        self._flaw, self._healable = "the replay endpoint had answered for another publisher", True
        return self._ask(heals=True)

    def _continue(self) -> list[Step]:
        """Ask for what comes after an answer that brought something."""
        self._attempts = 0
        self._rounds += 1
        if self._rounds < MAX_ROUNDS:
            return self._ask()
        return self._rest(f"{MAX_ROUNDS} replays in a row were cut off")

    def _retry(self, replay: RunningReplay, reason: str, *, answered: bool) -> list[Step]:
        self._attempts += 1
        if self._attempts <= RETRIES:
            return self._ask(heals=replay.heals, delay_s=FIRST_DELAY_S * 2 ** (self._attempts - 1))
        self._attempts = 0
        if replay.newest is None:
            return self._give_up(reason)
        if not answered:
            return self._rest(reason)
        if self._is_contradicted():
            return self._disown()
        # The ring agrees with what was delivered and ends there: what waits is of an earlier life.
        self._drop_waiting()
        self._settle()
        return []

    def _rest(self, reason: str) -> list[Step]:
        """Keep what was delivered, which the ring agrees with, until the next frame or probe."""
        self._rounds = 0
        self._drop_waiting()
        self.state, self.reason = State.DEGRADED, self._flaw or f"not confirmed: {reason}"
        return []

    def _give_up(self, reason: str) -> list[Step]:
        """Keep serving what we have."""
        steps = self._forget(reason) if self._unproved else []
        if self._is_missing():
            steps += self._forget(f"frames from {self._next()} on are lost: {reason}")
            steps += [self._deliver(number, self._take_waiting(number)) for number in sorted(self._waiting)]
            self._flaw, self._healable = f"frames are missing: {reason}", True
        elif self.last is None:
            self._flaw, self._healable = f"history is unknown: {reason}", True
        self.state, self.reason = State.DEGRADED, self._flaw or f"not confirmed: {reason}"
        return steps

    def _ask(self, *, heals: bool = False, delay_s: float = 0.0) -> list[Step]:
        if self._replays:
            self._count("replays")
        heals = heals and not self._unproved  # What is remembered is proved first.
        self._replay = RunningReplay(heals=heals, reach=self.last, heard=self._heard)
        return [Replay(0 if heals else self._overlap(), delay_s)]

    def _overlap(self) -> int:
        """Return where a replay must start to show whether the publisher is still the same."""
        if self.last is None:
            return 0
        return self._confirmed if self._confirmed in self._digests else next(iter(self._digests))

    def _next(self) -> int:
        return 0 if self.last is None else self.last + 1

    def _is_missing(self) -> bool:
        return self.live is not None and self.live >= self._next()

    def _deliver(self, number: int, payload: bytes, *, replayed: bool = False) -> Deliver:
        self.last = number
        self.live = number if self.live is None else max(number, self.live)
        self._digests[number] = xxh3_64_intdigest(payload)
        if len(self._digests) > WINDOW:
            del self._digests[next(iter(self._digests))]
        return Deliver(number, payload, replayed)

    def _deliver_waiting(self) -> list[Step]:
        steps: list[Step] = []
        while self._next() in self._waiting and not self._unproved:
            steps.append(self._deliver(self._next(), self._take_waiting(self._next())))
        return steps

    def _wait(self, number: int, payload: bytes) -> bool:
        """Keep a frame until it is its turn; returns whether there was room for it."""
        self.live = number if self.live is None else max(number, self.live)
        if self.is_full:
            self._count("buffered_dropped")
            return False
        self._waiting[number] = payload
        self._waiting_bytes += len(payload)
        return True

    def _take_waiting(self, number: int) -> bytes:
        payload = self._waiting.pop(number, b"")
        self._waiting_bytes -= len(payload)
        return payload

    def _drop_waiting(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0
        self._attempts = 0
        self.live = self.last

    def _forget(self, reason: str) -> list[Step]:
        reason = f"what was remembered is thrown away: {reason}" if self._unproved else reason
        steps: list[Step] = [] if self.last is None else [Forget(reason)]
        self.last, self._confirmed, self._unproved = None, None, False
        self._digests.clear()
        self._flaw, self._healable = "", False
        return steps

    def _catch_up(self, reason: str) -> None:
        self.state, self.reason = State.CATCHING_UP, reason

    def _settle(self) -> None:
        self.state, self.reason = (State.DEGRADED if self._flaw else State.EXACT), self._flaw

    def _count(self, name: str) -> None:
        self.counters = replace(self.counters, **{name: getattr(self.counters, name) + 1})
