"""Joining of words that a line end has split (``infor- mation``), where that is certain; pure.

Owns the rule of certainty: both halves are in small letters, the joined word occurs whole elsewhere in the document,
and the hyphenated form does not. "pre- and post-war" fails the rule and stays.
"""

from __future__ import annotations

import re

from tasks.optimization.repair import parts

# Halves as hyphenation makes them; single letters are list marks or variables.
_HALF = r"[^\W\d_]{2,30}"
_CUT_WORD = re.compile(rf"(?<![\w-])({_HALF}(?:-[ \n]{_HALF}){{1,8}})(?![\w-])")
_JOINT = re.compile(r"-[ \n]")
_WORD = re.compile(r"[^\W\d_]{4,60}(?:-[^\W\d_]{2,60})*")
# Rows of a table and headings end with their line: the next line is another cell or a paragraph.
_LINE_BOUND = ("#", "|")


def join_cut_words(text: str) -> tuple[str, int]:
    """Return *text* with the certain cases joined, outside code blocks, and how many joints those were."""
    if _CUT_WORD.search(text) is None:
        return text, 0
    joiner = _Joiner({word.casefold() for word in _WORD.findall(text)})
    joined = "".join(part.text if part.is_code else joiner.join(part.text) for part in parts(text))
    return joined, joiner.count


class _Joiner:
    def __init__(self, vocabulary: set[str]) -> None:
        self._vocabulary = vocabulary
        self.count = 0

    def join(self, text: str) -> str:
        return _CUT_WORD.sub(self._resolve, text)

    def _resolve(self, found: re.Match[str]) -> str:
        chain = found[1]
        line_start = found.string.rfind("\n", 0, found.start()) + 1
        if "\n" in chain and found.string[line_start:].lstrip(" ").startswith(_LINE_BOUND):
            return chain
        if found.string.count("`", line_start, found.start()) % 2:  # in code every sign counts
            return chain
        halves, joints = _JOINT.split(chain), _JOINT.findall(chain)
        at = 0
        while at < len(joints):  # a join may make the next one, or the one before, possible
            if self._belong_together(halves[at], halves[at + 1]):
                halves[at : at + 2] = [halves[at] + halves[at + 1]]
                del joints[at]
                self.count += 1
                at = max(0, at - 1)
            else:
                at += 1
        return halves[0] + "".join(joint + half for joint, half in zip(joints, halves[1:], strict=True))

    def _belong_together(self, left: str, right: str) -> bool:
        if not (left[-1].islower() and right[0].islower()):
            return False
        whole, hyphenated = (left + right).casefold(), f"{left}-{right}".casefold()
        return whole in self._vocabulary and hyphenated not in self._vocabulary
