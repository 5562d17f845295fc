"""A conversation: what the student types or says is answered by a language model, spoken live, and interruptible."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Callable
from typing import Protocol

import structlog

from pipeline.answer import Answer
from pipeline.apologies import apology
from pipeline.events import Event, Problem, ProcessingStatus, SpeechEnded, TextComplete, TextStream
from pipeline.history import History
from pipeline.language_model import LanguageModel, ModelError
from pipeline.moments import Mark, unmarked
from pipeline.persona import Persona
from pipeline.session import SessionClosed
from pipeline.turns import Action, Cancel, Hold, Resume, State, Turns, Tutor
from pipeline.turns import Answer as AnswerThis

log = structlog.get_logger(__name__)

CLOSE_SECONDS = 3.0

_LOST = frozenset({"cannot_say", "voice_failed"})  # problems after which an answer was not heard whole


class Live(Protocol):
    """What a conversation needs of the live session (pipeline.session.LiveSession)."""

    def say(self, text: str | AsyncIterable[str], *, voice: str | None = None) -> str: ...

    def interrupt(self) -> int: ...

    def hold(self) -> None: ...

    def resume(self) -> None: ...

    @property
    def generation(self) -> int: ...

    @property
    def status(self) -> str: ...


class Conversation:
    """Stands between a live session and the world: give the session `take` as its `on_event`, then `attach` it.

    All methods are called on the event loop; `emit` is too, and must not block. emit: takes the session's events, with
    `processing_status` by whose turn it is, `text_stream` and `text_complete` beside them. history: outlives this
    object where the caller keeps it. voice: asked for the session's voice at each answer. mark: told when each question
    was asked, and when the student began to interrupt.
    """

    def __init__(
        self,
        emit: Callable[[Event], None],
        model: LanguageModel,
        persona: Persona,
        history: History,
        *,
        voice: Callable[[], str | None] = lambda: None,
        kb_id: str | None = None,
        mark: Mark = unmarked,
    ) -> None:
        self._emit = emit
        self._model = model
        self._persona = persona
        self._history = history
        self._voice = voice
        self._kb_id = kb_id
        self._mark = mark
        self._voice_began: float | None = None  # the student's, of the turn whose words are being acted upon
        self._voice_ended: float | None = None
        self._heard = False  # what is acted upon was spoken
        self._live: Live | None = None
        self._turns = Turns()
        self._answers: dict[str, Answer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._acting = False
        self._status = "idle"
        self._answered = ""
        self._closed = False

    def attach(self, live: Live) -> None:
        self._live = live

    async def close(self) -> None:
        """Stop asking and waiting. The live session is the caller's to close, after this; its last events are taken."""
        self._closed = True
        self._stop_timer()
        self._stop_answers()
        if self._tasks:
            _, pending = await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
            if pending:
                log.error("answer_close_timeout", tasks=len(pending))

    # -- what is asked ------------------------------------------------------------------------------------------

    @property
    def demonstration(self) -> bool:
        """No model is configured: the tutor repeats."""
        return self._model.demonstration

    @property
    def state(self) -> State:
        return self._turns.state

    @property
    def status(self) -> str:
        """As `processing_status` tells it."""
        state = self._turns.state
        if state is State.LISTENING and not self._turns.student_speaks:
            return "idle"
        return state.value

    @property
    def history(self) -> History:
        return self._history

    # -- what happens -------------------------------------------------------------------------------------------

    def ask(self, text: str) -> str:
        """The student typed; gives the answer's utterance id. Raises SessionClosed."""
        if self._closed:
            raise SessionClosed("This session is not running.")
        self._do(self._turns.asked(text, time.monotonic()))
        return self._answered

    def interrupt(self) -> int:
        """The button, or the API: silent at once; gives the new generation."""
        self._do(self._turns.interrupted(time.monotonic()))
        return self._session.generation

    def student_started(self, since: float | None = None) -> None:
        """The student's voice began (voice activity), now or then (time.monotonic())."""
        if self._voice_began is None:
            self._voice_began = time.monotonic() if since is None else since
        self._voice_ended = None
        self._do(self._turns.student_started(time.monotonic(), since))

    def student_stopped(self, until: float | None = None) -> None:
        """Silence: the student's turn is over, it ended now or then. Its words come after this."""
        self._voice_ended = time.monotonic() if until is None else until
        self._do(self._turns.student_stopped(time.monotonic()))

    def words(self, text: str, *, final: bool) -> None:
        """The recogniser's words; the final ones are answered."""
        self._heard = True
        try:
            self._do(self._turns.words(text, time.monotonic(), final=final))
        finally:
            self._heard = False
            if final:
                self._voice_began = self._voice_ended = None

    def false_alarm(self) -> None:
        """The recogniser found no words in what it was given."""
        self._voice_began = self._voice_ended = None
        self._do(self._turns.false_alarm(time.monotonic()))

    def take(self, event: Event) -> None:
        """An event of the live session."""
        match event:
            case ProcessingStatus():
                if not self._acting:
                    self._do(self._turns.tutor(Tutor(event.status), time.monotonic()))
                return
            case SpeechEnded():
                self._ended(event)
            case Problem(utterance_id=str() as utterance_id) if event.code in _LOST and utterance_id in self._answers:
                self._answers[utterance_id].incomplete = True
        self._emit(event)

    # -- what follows -------------------------------------------------------------------------------------------

    def _do(self, actions: list[Action]) -> None:
        """Carry out, then tell the turns what the tutor does now, until nothing more follows."""
        if self._closed or self._live is None:
            return
        self._acting = True
        try:
            try:
                for action in actions:
                    self._act(action)
            finally:
                for action in self._turns.tutor(Tutor(self._session.status), time.monotonic()):
                    self._act(action)
        finally:
            self._acting = False
            self._tell_status()
            self._set_timer()

    def _act(self, action: Action) -> None:
        match action:
            case Hold():
                self._session.hold()
            case Resume():
                self._session.resume()
            case Cancel():
                if self._heard and self._voice_began is not None:
                    self._mark("", "interrupt", self._voice_began)
                self._stop_answers()
                self._session.interrupt()
            case AnswerThis(text):
                self._answer(text)

    def _answer(self, question: str) -> None:
        def wrote(piece: str) -> None:
            self._emit(TextStream(utterance_id, piece, self.demonstration))

        def ended(reason: str) -> None:
            self._emit(TextComplete(utterance_id, answer.text, reason, self.demonstration))

        def apologise(error: ModelError) -> str:
            log.error("model_failed", utterance=utterance_id, code=error.code, reason=str(error))
            sentence = apology(error.code, question)
            self._emit(Problem(error.code, sentence, utterance_id))
            return sentence

        self._history.student(question)
        messages = self._history.messages(self._persona.prompt)
        stream = self._model.stream(messages, name=self._persona.model, kb_id=self._kb_id)
        answer = Answer(stream, wrote=wrote, ended=ended, apologise=apologise)
        self._answered = utterance_id = self._session.say(answer.pieces(), voice=self._voice() or self._persona.voice)
        self._mark_question(utterance_id)
        self._history.answering(utterance_id)
        self._answers[utterance_id] = answer
        task = answer.start()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _mark_question(self, utterance_id: str) -> None:
        now = time.monotonic()
        if self._heard and self._voice_ended is not None:
            self._mark(utterance_id, "spoken", self._voice_ended)
            self._mark(utterance_id, "words", now)
        else:
            self._mark(utterance_id, "typed", now)

    def _ended(self, event: SpeechEnded) -> None:
        """History keeps what was heard, to the word; of an answer that was heard whole, its text as it was written."""
        whole = event.reason == "finished"
        answer = self._answers.pop(event.utterance_id, None)
        if answer is None:
            self._history.tutor(event.heard, interrupted=not whole)
            return
        answer.stop()
        text = answer.text if whole and not answer.incomplete else event.heard
        self._history.answered(event.utterance_id, text, interrupted=not whole)

    def _stop_answers(self) -> None:
        for answer in self._answers.values():
            answer.stop()

    @property
    def _session(self) -> Live:
        assert self._live is not None, "no live session is attached"
        return self._live

    def _tell_status(self) -> None:
        if self.status != self._status:
            self._status = self.status
            self._emit(ProcessingStatus(self._status))

    def _tick(self) -> None:
        self._timer = None
        self._do(self._turns.tick(time.monotonic()))

    def _set_timer(self) -> None:
        self._stop_timer()
        due = self._turns.due
        if due is not None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due - time.monotonic()), self._tick)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
