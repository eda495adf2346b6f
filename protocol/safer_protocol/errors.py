"""Errors of the protocol package.

ProtocolError
├── UnknownNameError     a tool, category or persona that the toolkit does not have
├── ValueFormError       a field value that cannot be written in the wire form
├── PolicyError          a policy under which no reply could be written
└── VocabularyError      a tokenizer that the mask machine cannot be exact on
"""


class ProtocolError(ValueError):
    """Something that the protocol cannot express; the message says what to change."""


class UnknownNameError(ProtocolError):
    """A name that the toolkit does not have."""


class ValueFormError(ProtocolError):
    """A field value that cannot be written in the wire form."""


class VocabularyError(ProtocolError):
    """A tokenizer vocabulary on which constrained decoding would not be exact."""


class PolicyError(ProtocolError):
    """A policy that cannot work; `key` is the dotted path to the fault, empty where it is the whole."""

    def __init__(self, key: str, message: str) -> None:
        """Take the path and a sentence."""
        super().__init__(f"{key}: {message}" if key else message)
        self.key = key
        self.message = message
