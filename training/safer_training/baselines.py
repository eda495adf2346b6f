"""What a checkpoint is measured against: words with logistic regression, and always the same decision."""

from collections.abc import Sequence

from safer_protocol.decision import Decision
from safer_training.rows import Row


def by_words(train: Sequence[Row], rows: Sequence[Row]) -> list[Decision]:
    """Decide with TF-IDF of words and characters and logistic regression, trained on `train`."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=3, max_features=200_000),
    )
    model = make_pipeline(features, LogisticRegression(C=10, max_iter=300))
    model.fit([row.text for row in train], [row.refusing for row in train])
    return [_decision(refusing) for refusing in model.predict([row.text for row in rows])]


def by_majority(train: Sequence[Row], rows: Sequence[Row]) -> list[Decision]:
    """Take the decision that is right most often in `train`."""
    refusing = sum(row.refusing for row in train) * 2 > len(train)
    return [_decision(refusing)] * len(rows)


def _decision(refusing: bool) -> Decision:
    return Decision.REFUSE if refusing else Decision.ALLOW
