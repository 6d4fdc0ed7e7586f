"""One sentence for each technical word, shown on hover wherever the word stands."""

from __future__ import annotations

TERMS: dict[str, str] = {
    "gauntlet": "The MosaicML Eval Gauntlet: tasks in five categories, scored by the likelihood of each answer.",
    "gauntlet score": "Accuracy less what guessing gives, rescaled so that 0 is guessing and 1 is perfect.",
    "category": "The unweighted mean of its tasks' scores; a category with a missing task is partial.",
    "preference": "How often a judge prefers the candidate's answer to the baseline's; invalid verdicts are left out.",
    "preference rate": "Wins over wins plus losses for each seed, then the plain mean over seeds, as in the paper.",
    "baseline": "The run that others are compared with; in the paper it is the model finetuned on LIMA alone.",
    "candidate": "The run that is compared with the baseline.",
    "interval": "Where the true value lies in 95 of 100 repetitions, as far as the samples at hand can tell.",
    "mix": "A recipe of sources, sizes and a seed, with the exact samples it drew; named by its content.",
    "source": "A data set of prompt and response samples.",
    "subset": "A named part of a source, such as one of the data sets it was put together from.",
    "run": "One model: a base model alone, or a base model finetuned on a mix with a recipe and a seed.",
    "recipe": "Training hyperparameters kept as a preset.",
    "seed": "The number that fixes every random choice, so that the same request gives the same result.",
    "shots": "Worked examples put before the question.",
    "protocol": "What a score depends on besides the model: version, shots, length limit, number format, data.",
    "partial": "Some tasks of this category have no result, so its score is not that of the whole category.",
    "not published": "The paper's text and figures at hand do not give this number; it is left open, not guessed.",
    "digitised": "Read off the bars of a published figure; the reading error is given beside it.",
    "packing": "Several samples share one row, each attending only to itself, so no time goes into padding.",
    "truncated": "Longer than the length limit, so its end is cut off.",
    "loss": "Mean negative log-likelihood of the response tokens, in nats; lower is better.",
    "MFU": "Model FLOPs utilisation: useful arithmetic done, as a share of what the device could do.",
    "tokens/s": "Tokens that carry text, per second; padding is not counted.",
    "acc": "lm-evaluation-harness's accuracy: the choice with the largest summed log-likelihood wins.",
    "acc_norm": "lm-evaluation-harness's normalised accuracy: summed log-likelihood over the choice's characters.",
    "length-controlled": "The preference expected if both answers were equally long, by a logistic model.",
    "position consistency": "How often a judge gives the same verdict when the two answers trade places.",
    "kappa": "Agreement beyond chance: 0 is chance, 1 is perfect.",
    "rubric": "A program that counts true and false statements in an answer; not a language model and not a person.",
    "Pareto front": "The models that no other model beats on both axes at once.",
    "alignment": "How close the texts of a mix are to the texts of an evaluation, by a classifier's uncertainty.",
    "near-duplicate": "Two samples that share most of their word sequences.",
    "leak": "A training sample that shares a long word sequence with a test item.",
}


def explain(word: str) -> str | None:
    """The sentence for `word`, or None where there is none."""
    return TERMS.get(word)
