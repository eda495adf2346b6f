"""Errors of the training package.

TrainingError
├── DataError               rows that cannot be read or used
├── ProtocolMismatchError   a checkpoint made for another protocol
├── RecipeError             a recipe that asks for something impossible
├── SuiteError              a suite file that cannot be used
└── TeacherError            a teacher or judge that does not answer
"""


class TrainingError(Exception):
    """Something that a user of the training commands can put right; the message says how."""


class DataError(TrainingError):
    """Rows that cannot be read or used."""


class ProtocolMismatchError(TrainingError):
    """A checkpoint that was made for another protocol."""


class RecipeError(TrainingError):
    """A recipe that asks for something impossible."""


class SuiteError(TrainingError):
    """A suite file that cannot be used; the message begins with its name and, where there is one, the line."""


class TeacherError(TrainingError):
    """A teacher or judge that does not answer."""
