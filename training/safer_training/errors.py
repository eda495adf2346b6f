"""Errors of the training package.

TrainingError
├── DataError               rows that cannot be read or used
├── PictureError            a picture that cannot be read
├── ProtocolMismatchError   a checkpoint made for another protocol
├── RecipeError             a recipe that asks for something impossible
├── SuiteError              a suite file that cannot be used
├── TargetError             a target of an evaluation that does not reply to a question
│   └── TargetGoneError     one that replies to nobody just now
└── TeacherError            a teacher or judge that does not answer
"""


class TrainingError(Exception):
    """Something that a user of the training commands can put right; the message says how."""


class DataError(TrainingError):
    """Rows that cannot be read or used."""


class PictureError(TrainingError):
    """A picture that cannot be read."""


class ProtocolMismatchError(TrainingError):
    """A checkpoint that was made for another protocol."""


class RecipeError(TrainingError):
    """A recipe that asks for something impossible."""


class SuiteError(TrainingError):
    """A suite file that cannot be used; the message begins with its name and, where there is one, the line."""


class TargetError(TrainingError):
    """A target of an evaluation that does not reply to a question."""


class TargetGoneError(TargetError):
    """A target that replies to nobody just now."""


class TeacherError(TrainingError):
    """A teacher or judge that does not answer."""
