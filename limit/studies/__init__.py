"""Studies: a grid of mixes, models and seeds, launched, tracked and shown as one thing."""

from limit.studies.clone import clone_study, planned_studies
from limit.studies.cost import StudyCost, study_cost
from limit.studies.launch import load_record, run_study, stop_study
from limit.studies.show import list_studies, progress, show_study
from limit.studies.spec import StudyMix, StudySpec, load_study, preset_names

__all__ = [
    "StudyCost",
    "StudyMix",
    "StudySpec",
    "clone_study",
    "list_studies",
    "load_record",
    "load_study",
    "planned_studies",
    "preset_names",
    "progress",
    "run_study",
    "show_study",
    "stop_study",
    "study_cost",
]
