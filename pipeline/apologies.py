"""What the tutor says when its model fails: one sentence for the student, in the language of the question."""

from __future__ import annotations

from pipeline.voices.scripts import language_of

_OTHERS = "model_failed"

_ENGLISH = {
    "model_unreachable": "I am sorry, I can't think of an answer just now. Please ask me again in a moment.",
    "model_timeout": "I am sorry, this is taking me too long. Please ask me again.",
    "model_stalled": "I am sorry, I have lost the thread. Please ask me again.",
    "model_cut": "I am sorry, I have lost the thread. Please ask me again.",
    "model_busy": "I am sorry, too many students are asking at once. Please ask me again in a moment.",
    "model_refused": "I am sorry, I can't answer, because I am not set up properly. Please tell your teacher.",
    "model_failed": "I am sorry, something went wrong while I was thinking. Please ask me again.",
    "model_empty": "I have no answer to that. Please ask me in another way.",
}
_CHINESE = {
    "model_unreachable": "对不起，我现在想不出答案。请过一会儿再问我。",
    "model_timeout": "对不起，我想得太久了。请再问我一次。",
    "model_stalled": "对不起，我的思路断了。请再问我一次。",
    "model_cut": "对不起，我的思路断了。请再问我一次。",
    "model_busy": "对不起，提问的同学太多了。请过一会儿再问我。",
    "model_refused": "对不起，我还没有设置好，不能回答。请告诉你的老师。",
    "model_failed": "对不起，我思考的时候出了问题。请再问我一次。",
    "model_empty": "这个问题我答不上来。请换一种问法。",
}


def apology(code: str, question: str) -> str:
    """The sentence for a ModelError's code."""
    sentences = _CHINESE if language_of(question) == "zh" else _ENGLISH
    return sentences.get(code, sentences[_OTHERS])
