"""What must not be written down or printed: passwords in addresses and the values of settings that are named like a secret."""

import re
from collections.abc import Sequence
from typing import Any

MASK = "***"
_NAMES = r"[\w.-]*(?:token|password|passwd|secret|credentials?|api_?key|access_?key|salt)"
_ADDRESS = re.compile(r"(?<=://)[^/\s@'\"]+@")  # user:password@ before a host
_ASSIGNED = re.compile(rf"(?i)\b({_NAMES})=(?!None\b|null\b|\$\{{)('[^']*'|\"[^\"]*\"|[^\s&,;)]+)")  # also in a query
_KNOWN = re.compile(r"\b(?:hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|wandb_v\d_\w{20,})")  # tokens that say what they are


def mask(text: str) -> str:
    """The text with every secret that can be told by its form replaced.

    >>> mask("cannot reach https://ada:pa55@example.org/x?api_key=123&page=2")
    'cannot reach https://***@example.org/x?api_key=***&page=2'
    """
    text = _ADDRESS.sub(f"{MASK}@", text)
    text = _ASSIGNED.sub(rf"\1={MASK}", text)
    return _KNOWN.sub(MASK, text)


def mask_given(text: str, arguments: Sequence[str]) -> str:
    """`mask`, and every value that the command line gives to a setting named like a secret.

    >>> mask_given("no viable alternative at input '[dalmire'", ["salt=[dalmire", "seed=1"])
    "no viable alternative at input '***'"
    """
    for argument in arguments:
        given = re.fullmatch(rf"\+*{_NAMES}=(.+)", argument, re.IGNORECASE | re.DOTALL)
        if given and not given[1].startswith("${"):
            text = text.replace(given[1], MASK)
    return mask(text)


def masked(value: Any) -> Any:
    """Plain data, such as a resolved configuration, with every secret in it replaced.

    >>> masked({"salt": "dalmire", "mirror": "https://ada:pa55@example.org", "seed": 1})
    {'salt': '***', 'mirror': 'https://***@example.org', 'seed': 1}
    """
    if isinstance(value, dict):
        return {key: MASK if _is_secret(key, inner) else masked(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [masked(inner) for inner in value]
    return mask(value) if isinstance(value, str) else value


def _is_secret(key: Any, value: Any) -> bool:
    return isinstance(value, str) and value != "" and re.fullmatch(_NAMES, str(key), re.IGNORECASE) is not None
