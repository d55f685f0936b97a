"""What radiologists write, and what it must mean: our sentences, the annotation guideline's meaning."""

from __future__ import annotations

import pytest

from radpipe.codes import FINDINGS
from radpipe.observation import Assertion, Observation, Part
from radpipe.structure import open_lexicon, structure_report

CHEST = open_lexicon("chest")

SAID = [
    # denial through lists, and where it ends
    (
        "No effusion, pneumothorax or focal consolidation.",
        "pleural_effusion absent; pneumothorax absent; consolidation absent",
    ),
    ("No pleural effusion, stable cardiomegaly.", "pleural_effusion absent; cardiomegaly present unchanged"),
    ("No pneumothorax, small left pleural effusion.", "pneumothorax absent; pleural_effusion present left small"),
    ("Cardiomegaly without pulmonary edema.", "cardiomegaly present; edema absent"),
    ("There is neither pneumothorax nor pleural effusion.", "pneumothorax absent; pleural_effusion absent"),
    ("Negative for pneumothorax.", "pneumothorax absent"),
    ("The lungs are free of focal airspace disease.", "lung_opacity absent"),
    ("No pneumothorax. Right lower lobe consolidation is seen.", "pneumothorax absent; consolidation present right"),
    ("No effusion but a small right apical pneumothorax.", "pleural_effusion absent; pneumothorax present right small"),
    ("Effusion is not seen.", "pleural_effusion absent"),
    ("Pneumothorax has been excluded.", "pneumothorax absent"),
    ("No opacity to suggest pneumonia.", "lung_opacity absent; pneumonia absent"),
    ("No definite pneumothorax.", "pneumothorax absent"),
    ("No large pleural effusion.", "pleural_effusion absent"),
    # double and pseudo-negation
    ("Small effusion cannot be excluded.", "pleural_effusion uncertain small"),
    ("Pneumonia is not excluded.", "pneumonia uncertain"),
    ("No change in the left pleural effusion.", "pleural_effusion present left unchanged"),
    ("No significant interval change in moderate cardiomegaly.", "cardiomegaly present moderate unchanged"),
    (
        "Not only is there a right pneumothorax, but also a small effusion.",
        "pneumothorax present right; pleural_effusion present small",
    ),
    ("No increase in the right pleural effusion.", "pleural_effusion present right unchanged"),
    # what stands after
    ("The left pleural effusion has resolved.", "pleural_effusion absent resolved"),
    ("Previously seen right pneumothorax is no longer visible.", "pneumothorax absent resolved"),
    ("Interval resolution of pulmonary edema.", "edema absent resolved"),
    ("The right chest tube has been removed.", "support_device absent resolved"),
    ("The effusion is small and unchanged.", "pleural_effusion present small unchanged"),
    ("Right pleural effusion, small.", "pleural_effusion present right small"),
    # states
    ("Heart size normal.", "cardiomegaly absent"),
    ("The heart is not enlarged.", "cardiomegaly absent"),
    ("Heart is mildly enlarged.", "cardiomegaly present small"),
    ("Heart size is at the upper limits of normal.", "cardiomegaly uncertain"),
    ("Costophrenic angles are sharp.", "pleural_effusion absent"),
    ("The costophrenic angles are clear bilaterally.", "pleural_effusion absent"),
    (
        "Heart size, mediastinal contour and pulmonary vascularity are within normal limits.",
        "cardiomegaly absent; mediastinal_widening absent; edema absent",
    ),
    ("Normal heart size and mediastinal contours.", "cardiomegaly absent; mediastinal_widening absent"),
    ("The cardiomediastinal silhouette is normal.", "cardiomegaly absent; mediastinal_widening absent"),
    ("Lungs are clear.", "lung_opacity absent"),
    ("The lungs are hyperinflated but clear.", "hyperinflation present; lung_opacity absent"),
    ("Osseous structures are intact.", "fracture absent"),
    ("No acute bony abnormality.", "fracture absent"),
    ("The aorta is tortuous and calcified.", "aortic_disease present"),
    ("Hila are normal.", "hilar_enlargement absent"),
    (
        "Lungs: Clear. Heart: Enlarged. Bones: No acute fracture.",
        "lung_opacity absent; cardiomegaly present; fracture absent",
    ),
    # doubt
    ("Possible small right pleural effusion.", "pleural_effusion uncertain right small"),
    ("Findings suspicious for pneumonia.", "pneumonia uncertain"),
    (
        "Right basilar opacity may represent atelectasis or pneumonia.",
        "lung_opacity present right; atelectasis uncertain right; pneumonia uncertain right",
    ),
    ("Left base atelectasis versus consolidation.", "atelectasis uncertain left; consolidation uncertain left"),
    ("Left basilar scarring/atelectasis.", "scarring uncertain left; atelectasis uncertain left"),
    ("Questionable nodule in the left upper lobe.", "nodule_mass uncertain left"),
    ("Bibasilar opacities consistent with atelectasis.", "atelectasis present bilateral"),
    ("There is mild pulmonary edema, possible superimposed pneumonia.", "edema present small; pneumonia uncertain"),
    (
        "Patchy right lower lobe opacity. This could represent pneumonia.",
        "lung_opacity present right; pneumonia uncertain right",
    ),
    # supposed, asked, remembered
    ("If fever persists consider pneumonia.", ""),
    ("Follow-up CT if there is clinical concern for pneumothorax.", ""),
    ("Clinical correlation for infection is advised.", ""),
    ("History of pneumonia.", ""),
    ("Evaluate for pneumothorax.", ""),
    ("Status post median sternotomy and CABG.", "support_device present"),
    # side, degree, change
    ("Small bilateral pleural effusions, right greater than left.", "pleural_effusion present bilateral small"),
    (
        "Unchanged cardiomegaly and small effusions.",
        "cardiomegaly present unchanged; pleural_effusion present small unchanged",
    ),
    ("Moderate to large left pleural effusion.", "pleural_effusion present left large"),
    ("New right lower lobe consolidation.", "consolidation present right new"),
    ("Interval worsening of the right pleural effusion.", "pleural_effusion present right increased"),
    ("Pulmonary edema has improved.", "edema present decreased"),
    (
        "Right pleural effusion and atelectasis, unchanged.",
        "pleural_effusion present right unchanged; atelectasis present right unchanged",
    ),
    ("Small right pleural effusion. No change.", "pleural_effusion present right small unchanged"),
    ("Elevated right hemidiaphragm.", "elevated_diaphragm present right"),
    ("Biapical pleural thickening, unchanged.", "pleural_thickening present bilateral unchanged"),
    ("Calcified granuloma in the left upper lobe.", "granuloma present left"),
    ("Trace left effusion.", "pleural_effusion present left minimal"),
    # things that look like findings
    ("Small pericardial effusion.", ""),
    ("Low lung volumes with bronchovascular crowding.", ""),
    ("No acute cardiopulmonary abnormality.", ""),
    ("Stable chest.", ""),
    ("Stable cardiomediastinal silhouette.", ""),
    ("EKG leads overlie the chest.", ""),
    ("Nipple shadows are noted.", ""),
    # slips and other spellings
    ("Large right pnuemothorax.", "pneumothorax present right large"),
    ("Mild cardiomegally.", "cardiomegaly present small"),
    ("Pulmonary oedema.", "edema present"),
    ("Right-sided effusions.", "pleural_effusion present right"),
    # what a sceptical reader tried (each answer was read by eye)
    ("Comparison: None.\nThere is a right pleural effusion.", "pleural_effusion present right"),
    ("Indication: cough.\nHeart size normal. No effusion.", "pleural_effusion absent; cardiomegaly absent"),
    ("Technique: AP view.\n\nSmall left effusion.", "pleural_effusion present left small"),
    ("Comparison: None. The heart is enlarged.", "cardiomegaly present"),
    ("INDICATION: Chest pain. Rule out pneumonia.", ""),
    ("Pneumothorax has not resolved.", "pneumothorax present unchanged"),
    ("The infiltrate has not cleared.", "lung_opacity present unchanged"),
    ("Right effusion has improved but not completely resolved.", "pleural_effusion present right decreased"),
    ("Incomplete resolution of the RLL pneumonia.", "pneumonia present right decreased"),
    ("Effusion has cleared partly.", "pleural_effusion present decreased"),
    ("Edema has mostly resolved.", "edema present decreased"),
    ("No improvement in the pneumonia.", "pneumonia present unchanged"),
    ("Effusion is not significantly improved.", "pleural_effusion present unchanged"),
    ("Left chest tube. Heart size is stable.", "support_device present left"),
    ("Right lower lobe opacity. The cardiomediastinal silhouette is unchanged.", "lung_opacity present right"),
    ("Left pleural effusion. Lung volumes remain low.", "pleural_effusion present left"),
    ("Heart is enlarged. Cardiac silhouette stable.", "cardiomegaly present unchanged"),
    ("Pneumothorax: none.", "pneumothorax absent"),
    (
        "Consolidation: absent. Pulmonary edema: No. Nodules: None seen.",
        "consolidation absent; nodule_mass absent; edema absent",
    ),
    ("LINES/TUBES: None.", "support_device absent"),
    ("Lungs: no focal consolidation.", "consolidation absent"),
    ("FINDINGS: Small right pneumothorax. IMPRESSION: No pneumothorax.", "pneumothorax absent"),
    ("FINDINGS: Small right pneumothorax.\nADDENDUM: On review there is no pneumothorax.", "pneumothorax absent"),
    ("Doubt pneumonia.", "pneumonia absent"),
    ("Unlikely to be pneumonia.", "pneumonia absent"),
    ("?pneumonia", "pneumonia uncertain"),
    ("Pneumonia?", "pneumonia uncertain"),
    ("Query pneumonia.", "pneumonia uncertain"),
    ("Pneumonia (?) in the right base.", "pneumonia uncertain right"),
    ("Effusion suspected.", "pleural_effusion uncertain"),
    ("Pneumothorax is tiny if any.", "pneumothorax uncertain minimal"),
    ("Surgical emphysema in the neck.", ""),
    ("Air under both hemidiaphragms.", "pneumoperitoneum present"),
    ("Low lung volumes accentuate the heart size.", ""),
    ("Heart nl. Mediastinum WNL.", "cardiomegaly absent; mediastinal_widening absent"),
    (
        "No significant change in pneumothorax or right pleural fluid.",
        "pleural_effusion present right unchanged; pneumothorax present unchanged",
    ),
    ("Unchanged effusion or atelectasis.", "atelectasis present unchanged; pleural_effusion present unchanged"),
    ("No pneumothorax, cardiomegaly stable.", "pneumothorax absent; cardiomegaly present unchanged"),
    ("* No pneumothorax * Stable cardiomegaly", "pneumothorax absent; cardiomegaly present unchanged"),
    ("On the right, there is a small pneumothorax.", "pneumothorax present right small"),
    ("In the left lung base, there is a 9 mm nodule.", "nodule_mass present left"),
    ("Marked decrease in the right effusion, now small.", "pleural_effusion present right small decreased"),
    ("Marked improvement in edema.", "edema present decreased"),
    ("Slight interval increase in the left effusion.", "pleural_effusion present left increased"),
    ("Bilateral effusions. Findings in keeping with cardiac failure.", "edema present; pleural_effusion present bilateral"),
    ("Old R clavicle fx. L PICC.", "fracture present right; support_device present left"),
    ("Right internal jugular vein catheter in place.", "support_device present right"),
    ("The effusion is larger.", "pleural_effusion present increased"),
    ("Previously seen right effusion is not seen.", "pleural_effusion absent resolved"),
    ("There is no longer a pneumothorax.", "pneumothorax absent resolved"),
    ("The ETT, NG tube and right IJ line have been removed.", "support_device absent resolved"),
    ("Possible pneumonia: left lower lobe consolidation.", "consolidation present left; pneumonia uncertain"),
    ("Fractures of the right 4th through 8th ribs.", "fracture present right"),
    ("Negative for acute osseous deformity.", "fracture absent"),
    ("Innumerable pulmonary metastases.", "nodule_mass present"),
    ("No cavitation.", ""),
    ("Calcified right lower lobe pulmonary nodule.", "granuloma present right"),
    ("Ill-defined shadowing in the right base.", "lung_opacity present right"),
    ("Aortic and mediastinal contours are within normal limits.", "mediastinal_widening absent; aortic_disease absent"),
    ("Increased thoracic kyphosis.", "degenerative_spine present"),
    ("L1 compression fracture. L-spine degenerative changes.", "fracture present; degenerative_spine present"),
    ("Pneumothorax absent.", "pneumothorax absent"),
    ("Pneumothorax - absent", "pneumothorax absent"),
    ("Pneumothorax -- none.", "pneumothorax absent"),
    ("Pneumothorax = none", "pneumothorax absent"),
    ("Pneumothorax (none)", "pneumothorax absent"),
    ("Pleural effusion - not seen", "pleural_effusion absent"),
    ("Effusion - nil", "pleural_effusion absent"),
    ("Pleural effusion: N/A", "pleural_effusion absent"),
    ("Pneumothorax excluded.", "pneumothorax absent"),
    ("Pneumothorax cannot be seen.", "pneumothorax absent"),
    ("None of the following is seen: pneumothorax, effusion.", "pleural_effusion absent; pneumothorax absent"),
    ("Nothing to suggest pneumonia.", "pneumonia absent"),
    ("Left effusion. This has resolved.", "pleural_effusion absent resolved"),
    ("Left effusion. Resolved.", "pleural_effusion absent resolved"),
    ("Right effusion larger than left.", "pleural_effusion present bilateral"),
    ("Left effusion is larger than the right.", "pleural_effusion present bilateral"),
    ("Patient is concerned about pneumonia.", ""),
    ("Previously there was a large left effusion.", ""),
    ("Tip of the ET tube is 3 cm above the carina.", "support_device present"),
    ("Well-expanded lungs - no effusion - stable cardiomegaly", "pleural_effusion absent; cardiomegaly present unchanged"),
    (
        "Left base opacity (atelectasis or pneumonia).",
        "lung_opacity present left; pneumonia uncertain left; atelectasis uncertain left",
    ),
]


def said(observation: Observation) -> str:
    parts = (observation.finding, observation.status, observation.laterality, observation.severity, observation.change)
    return " ".join(part for part in parts if part)


@pytest.mark.parametrize(("text", "meaning"), SAID, ids=[text[:60] for text, _ in SAID])
def test_a_sentence_means_what_a_radiologist_means_by_it(text: str, meaning: str) -> None:
    report = structure_report("r", text, CHEST)
    assert sorted(said(observation) for observation in report.observations) == sorted(filter(None, meaning.split("; ")))


def test_the_indication_and_the_comparison_assert_nothing() -> None:
    text = (
        "INDICATION: Pneumonia, effusion.\nCOMPARISON: Prior with pneumothorax.\n"
        "FINDINGS: Heart size normal.\nIMPRESSION: Normal."
    )
    report = structure_report("r", text, CHEST)
    assert [item.finding for item in report.observations] == ["cardiomegaly"]
    assert [part.part for part in report.parts] == [Part.INDICATION, Part.COMPARISON, Part.FINDINGS, Part.IMPRESSION]


def test_one_side_present_and_the_other_absent_is_present() -> None:
    report = structure_report("r", "No left pleural effusion. Small right pleural effusion.", CHEST)
    assert [said(item) for item in report.observations] == ["pleural_effusion present right small"]
    assert len(report.observations[0].mentions) == 2


def test_the_impression_beats_the_findings() -> None:
    text = "FINDINGS: No pleural effusion.\nIMPRESSION: Possible small pleural effusion."
    (effusion,) = structure_report("r", text, CHEST).observations
    assert effusion.status is Assertion.UNCERTAIN
    assert effusion.part is Part.IMPRESSION


def test_places_sizes_and_devices_are_read() -> None:
    text = "8 mm nodule in the right upper lobe. Left PICC with tip in the right atrium. Compression fracture of T10."
    report = structure_report("r", text, CHEST)
    nodule, picc = report.observation("nodule_mass"), report.observation("support_device")
    assert nodule is not None
    assert picc is not None
    assert [place.name for place in nodule.locations] == ["right upper lobe"]
    assert [size.mm for size in nodule.sizes] == [(8.0,)]
    assert [(device.kind, device.position) for device in picc.devices] == [("PICC", "right atrium")]
    assert picc.laterality == "left"
    fracture = report.observation("fracture")
    assert fracture is not None
    assert [place.name for place in fracture.locations] == ["T10"]


def test_every_mention_says_which_rules_fired() -> None:
    (effusion,) = structure_report("r", "No small right pleural effusion.", CHEST).observations
    rules = effusion.mentions[0].rules
    assert rules[0].startswith("pleural_effusion: ")
    assert "negation, before: no" in rules


def test_a_finding_has_one_code_in_the_house() -> None:
    shared = CHEST.codes.keys() & FINDINGS.keys()
    assert len(shared) >= 13
    assert {name: CHEST.codes[name] for name in shared} == {name: FINDINGS[name] for name in shared}
