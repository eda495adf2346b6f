"""What a checkpoint is measured against: words with logistic regression, and always the same decision."""

from collections.abc import Sequence

from safer_protocol.decision import Decision
from safer_training.rows import Row


class Words:
    """TF-IDF of words and characters with logistic regression."""

    def __init__(self, train: Sequence[Row]) -> None:
        """Learn from rows."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline, make_union

        features = make_union(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=3, max_features=200_000),
        )
        self._model = make_pipeline(features, LogisticRegression(C=10, max_iter=300))
        self._model.fit([row.text for row in train], [row.refusing for row in train])

    def risks(self, texts: Sequence[str]) -> list[float]:
        """Return for each text the probability that allowing it is wrong."""
        return [float(one) for one in self._model.predict_proba(list(texts))[:, list(self._model.classes_).index(True)]]

    def decide(self, rows: Sequence[Row]) -> list[Decision]:
        """Decide by the text of each row."""
        return [_decision(refusing) for refusing in self._model.predict([row.text for row in rows])]


class Majority:
    """Always the decision that is right most often in training."""

    def __init__(self, train: Sequence[Row]) -> None:
        """Count rows."""
        self._always = _decision(sum(row.refusing for row in train) * 2 > len(train))

    def decide(self, rows: Sequence[Row]) -> list[Decision]:
        """Decide without a look at the rows."""
        return [self._always] * len(rows)


def _decision(refusing: bool) -> Decision:
    return Decision.REFUSE if refusing else Decision.ALLOW
