"""Errors of the protocol package.

ProtocolError
├── UnknownNameError     a tool, category or persona that the toolkit does not have
├── ValueFormError       a field value that cannot be written in the wire form
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
