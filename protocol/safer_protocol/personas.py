"""Personas: the manner in which an answer is given. The names are this project's reading; the paper publishes none."""

from pydantic import Field as PydanticField

from safer_protocol.frozen import Frozen


class Persona(Frozen):
    """A manner of answering."""

    name: str = PydanticField(pattern=r"^[a-z][a-z0-9_]*$")
    meaning: str


PERSONAS = (
    Persona(name="assistant", meaning="Plain, friendly and to the point."),
    Persona(name="educator", meaning="Explains patiently and gives context."),
    Persona(name="analyst", meaning="Technical, precise and sober."),
    Persona(name="counselor", meaning="Warm and supportive; points to people who can help."),
    Persona(name="mediator", meaning="Even-handed where people or groups are in dispute."),
    Persona(name="guardian", meaning="Firm and calm; names the boundary and offers another way."),
)
