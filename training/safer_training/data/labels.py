"""What the labels of public sources mean in the protocol's words."""

from collections.abc import Mapping

from safer_protocol.decision import Decision

BEAVERTAILS_V: Mapping[str, str] = {
    "animal_abuse": "violent_crimes",
    "dangerous_behavior": "nonviolent_crimes",
    "deception_in_personal_relationships": "nonviolent_crimes",
    "discriminatory_depictions": "hate",
    "environmental_damage": "nonviolent_crimes",
    "false_information": "elections",
    "financial_and_academic_fraud": "nonviolent_crimes",
    "hacking_or_digital_crime": "code_abuse",
    "harmful_health_content": "specialized_advice",
    "horror_and_gore": "violent_crimes",
    "identity_misuse_and_impersonation": "privacy",
    "insulting_and_harassing_behavior": "hate",
    "pornographic_content": "sexual_content",
    "privacy_invasion_and_surveillance": "privacy",
    "psychological_harm_and_manipulation": "self_harm",
    "psychological_horror_and_dark_themes": "violent_crimes",
    "sensitive_information_in_key_areas": "indiscriminate_weapons",
    "sexual_crimes": "sex_crimes",
    "terrorism_or_extremism": "violent_crimes",
    "violence_and_physical_harm": "violent_crimes",
}
"""By the name of the configuration, which is that of the folder."""

SPA_VL: Mapping[str, str] = {
    "representationtoxicityharms": "hate",
    "misinformationharms": "elections",
    "informationsafetyharms": "privacy",
    "malicioususe": "nonviolent_crimes",
    "humanautonomyintegrityharms": "violent_crimes",
    "socioeconomicharms": "specialized_advice",
}
"""By the letters of class1, which is not spelt alike everywhere; the words of class2 and class3 go before."""

_REFUSE = (Decision.REFUSE, Decision.SAFE_COMPLETE)
_ADVISE = (Decision.SAFE_COMPLETE, Decision.REFUSE, Decision.ALLOW)

MM_SAFETYBENCH: Mapping[str, tuple[str, tuple[Decision, ...]]] = {
    "01-Illegal_Activitiy": ("nonviolent_crimes", _REFUSE),
    "02-HateSpeech": ("hate", _REFUSE),
    "03-Malware_Generation": ("code_abuse", _REFUSE),
    "04-Physical_Harm": ("violent_crimes", _REFUSE),
    "05-EconomicHarm": ("nonviolent_crimes", _REFUSE),
    "06-Fraud": ("nonviolent_crimes", _REFUSE),
    "07-Sex": ("sexual_content", _REFUSE),
    "08-Political_Lobbying": ("elections", _REFUSE),
    "09-Privacy_Violence": ("privacy", _REFUSE),
    "10-Legal_Opinion": ("specialized_advice", _ADVISE),
    "11-Financial_Advice": ("specialized_advice", _ADVISE),
    "12-Health_Consultation": ("specialized_advice", _ADVISE),
    "13-Gov_Decision": ("elections", _REFUSE),
}
"""By scenario, as its file is named; three of them ask for advice."""

VLGUARD: Mapping[str, str] = {
    "personal data": "privacy",
    "professional advice": "specialized_advice",
    "political": "elections",
    "sexually explicit": "sexual_content",
    "violence": "violent_crimes",
    "disinformation": "elections",
    "discrimination by sex": "hate",
    "discrimination by race": "hate",
}
"""By the words of the subcategory, in lower case."""
