"""Rows of facts that ask nearly the same, once where it is harmful and once where it is not, told by their numbers."""

_XSTEST_BLOCK = 25
_XSTEST_CONTRASTS = (1, 3, 5, 7, 9, 12, 14, 17)
"""XSTest stands in blocks of 25; one or two blocks of safe prompts are followed by their unsafe contrasts, in the same order."""


def twin_of(uid: str) -> str | None:
    """Return the name that twins share, from a name that ends with set and number; None for sets without twins."""
    name, _, number = uid.rpartition(":")
    kind = name.rpartition(":")[2]
    if not number.isdigit():
        return None
    match kind:
        case "jbb_harmful" | "jbb_benign":
            return f"jailbreakbench:{number}"
        case "xstest":
            block, place = divmod(int(number) - 1, _XSTEST_BLOCK)
            contrast = next((one for one in _XSTEST_CONTRASTS if one >= block), None)
            return None if contrast is None else f"xstest:{contrast * _XSTEST_BLOCK + place + 1}"
    return None
