"""Body parts and projections as people write them in descriptions: English, German, French, Spanish, Italian.

Words are matched whole, without accents and case; longer phrases first, and what a phrase has claimed is gone, so that
"thoracic spine" is not a chest. Where a text speaks of two body parts or two projections it settles nothing.
"""

from __future__ import annotations

import re
import unicodedata

from radpipe.study import View

_BODY_PARTS: dict[str, str] = {
    "CHEST": "chest|thorax|thoracic|lung|lungs|rib|ribs|ribcage|rib cage|cxr|pulmonary|hemithorax|"
    "brustkorb|lungenaufnahme|lungenubersicht|lunge|lungen|rippen|rippenthorax|thoraxaufnahme|rontgenthorax|"
    "rontgen thorax|thoraxubersicht|"
    "poumon|poumons|thoracique|cotes|gril costal|"
    "torax|toracica|toracico|pulmon|pulmones|costillas|parrilla costal|tele de torax|"
    "torace|polmone|polmoni|polmonare|coste|emicostato|costato",
    "STERNUM": "sternum|brustbein|esternon|sterno",
    "TSPINE": "thoracic spine|dorsal spine|t spine|tspine|thoracic vertebrae|bws|brustwirbelsaule|rachis dorsal|"
    "rachis thoracique|columna dorsal|columna toracica|rachide dorsale|colonna dorsale|colonna toracica",
    "CTSPINE": "cervicothoracic spine",
    "TLSPINE": "thoracolumbar spine|thoraco lumbar spine|thorakolumbal|rachis dorso lombaire|columna dorsolumbar|"
    "rachide dorso lombare",
    "CSPINE": "cervical spine|c spine|cspine|neck spine|hws|halswirbelsaule|rachis cervical|columna cervical|"
    "rachide cervicale|colonna cervicale",
    "LSPINE": "lumbar spine|l spine|lspine|lumbosacral spine|ls spine|lws|lendenwirbelsaule|rachis lombaire|"
    "columna lumbar|columna lumbosacra|rachide lombare|rachide lombosacrale|colonna lombosacrale",
    "SPINE": "spine|whole spine|scoliosis|wirbelsaule|rachis|columna|colonna vertebrale|rachide",
    "ABDOMEN": "abdomen|abdominal|abd|kub|bauch|abdomenubersicht|ventre|asp|addome",
    "CHESTABDOMEN": "chest abdomen|chest and abdomen|babygram|thorax abdomen|thorax und abdomen|torax y abdomen",
    "PELVIS": "pelvis|pelvic|becken|beckenubersicht|bassin|bacino",
    "HIP": "hip|hips|hufte|huftgelenk|hanche|hanches|cadera|caderas|anca|anche",
    "HEAD": "head|brain|kopf|schadel hirn|cerveau|tete|cabeza|cerebro|testa|encefalo|cranial|ncct head",
    "SKULL": "skull|schadel|crane|craneo|cranio",
    "SINUS": "sinus|sinuses|nasennebenhohlen|nnh|sinus de la face|senos paranasales|seni paranasali",
    "NECK": "neck|soft tissue neck|hals|cou|cuello|collo",
    "SHOULDER": "shoulder|shoulders|schulter|epaule|epaules|hombro|hombros|spalla|spalle",
    "CLAVICLE": "clavicle|clavicles|schlusselbein|klavikula|clavicule|clavicula|clavicola",
    "SCAPULA": "scapula|schulterblatt|omoplate|escapula|scapola",
    "HUMERUS": "humerus|oberarm|humero|omero",
    "ELBOW": "elbow|elbows|ellbogen|ellenbogen|coude|coudes|codo|codos|gomito|gomiti",
    "FOREARM": "forearm|unterarm|avant bras|antebrazo|avambraccio",
    "WRIST": "wrist|wrists|handgelenk|poignet|poignets|muneca|munecas|polso|polsi",
    "HAND": "hand|hands|hande|mains|la main|mano|manos|mani",
    "FINGER": "finger|fingers|thumb|daumen|doigt|doigts|pouce|dedo|dedos|pulgar|dito|dita|pollice",
    "FEMUR": "femur|femora|oberschenkel|femore",
    "KNEE": "knee|knees|knie|kniegelenk|genou|genoux|rodilla|rodillas|ginocchio|ginocchia",
    "TIBFIBULA": "tibia|fibula|tib fib|lower leg|unterschenkel|jambe|pierna|gamba",
    "ANKLE": "ankle|ankles|sprunggelenk|osg|cheville|chevilles|tobillo|tobillos|caviglia|caviglie",
    "FOOT": "foot|feet|fuss|fusse|vorfuss|pied|pieds|pie|pies|piede|piedi",
    "TOE": "toe|toes|zehe|zehen|grosszehe|orteil|orteils|hallux|alluce",
    "CALCANEUS": "calcaneus|heel|fersenbein|calcaneum|calcaneo|calcagno",
    "EXTREMITY": "extremity|extremities|extremitat|extremite|extremidad|estremita",
    "BREAST": "breast|breasts|mammogram|mammo|mammography|mammographie|mama|mamografia|mammella",
    "HEART": "heart|cardiac|herz|coeur|corazon|cuore",
}

_PA = (
    "pa|p a|postero anterior|posteroanterior|posterior anterior|dorsoventral|dorso ventral|"
    "postero anteriore|posteroanteriore"
)
_AP = (
    "ap|a p|antero posterior|anteroposterior|anterior posterior|ventrodorsal|ventro dorsal|"
    "antero posteriore|anteroposteriore"
)
_AP_BY_CUSTOM = (
    "portable|mobile|bedside|supine|bettaufnahme|bettthorax|thorax im liegen|im liegen|liegend|au lit|"
    "decubitus dorsal|portatil|encamado|decubito supino|a letto|allettato"
)
_LATERAL = (
    "lateral|lat|left lateral|right lateral|ll|latero lateral|laterolateral|lateromedial|latero medial|"
    "mediolateral|medio lateral|"
    "medial lateral|lateral medial|l lat|r lat|"
    "seitlich|seitliche|seitaufnahme|seitl|seitbild|quer|profil|de profil|perfil|de perfil|laterale|"
    "latero laterale|profilo|di profilo|"
    "sagittal"
)
_OTHER = {
    "oblique": "oblique|obliques|lao|rao|lpo|rpo|schrag|schragaufnahme|oblicua|obliqua|obliquo|lateral oblique|"
    "medial oblique|"
    "left anterior oblique|right anterior oblique|left posterior oblique|right posterior oblique|"
    "antero posterior oblique|postero anterior oblique|frontal oblique|rlo|llo",
    "decubitus": "decubitus|lateral decubitus|left lateral decubitus|right lateral decubitus|decub|lat decub|"
    "seitenlage|"
    "decubitus lateral|decubito lateral|decubito laterale|rld|lld",
    "lordotic": "lordotic|apical lordotic|ap lordotic|apical|lordotique|lordotica|lordosi",
    "axial": "axial|axillary|tangential|cranio caudal|caudo cranial|occlusal",
}

_RIGHTS_AND_LEFTS = re.compile(r"[^a-z0-9]+")


def _folded(words: str) -> str:
    plain = unicodedata.normalize("NFKD", words.replace("ß", "ss").lower())
    return f" {_RIGHTS_AND_LEFTS.sub(' ', ''.join(c for c in plain if not unicodedata.combining(c))).strip()} "


def _phrases(table: dict[str, str]) -> list[tuple[str, str]]:
    pairs = [(f" {phrase} ", meaning) for meaning, phrases in table.items() for phrase in phrases.split("|")]
    return sorted(pairs, key=lambda pair: (-len(pair[0]), pair[0]))


_PART_PHRASES = _phrases(_BODY_PARTS)
_VIEW_PHRASES = _phrases({"PA": _PA, "AP": _AP, "LATERAL": _LATERAL, **_OTHER})
_BEDSIDE_PHRASES = _phrases({"AP": _AP_BY_CUSTOM})

_DEFINED_TERMS: dict[str, str] = {
    **{term: term for term in _BODY_PARTS},
    "THORAX": "CHEST", "LUNG": "CHEST", "LUNGS": "CHEST", "RIB": "CHEST", "RIBS": "CHEST", "RIBCAGE": "CHEST",
    "TORAX": "CHEST", "TORACE": "CHEST", "CXR": "CHEST",
}  # fmt: skip


def body_part_of_term(term: str) -> str:
    """A BodyPartExamined value (0018,0015) as the defined term that radpipe uses: THORAX, LUNG, RIB are CHEST.

    A term that is not known stays as it is, in capitals (PS3.16 Annex L has several hundred).
    """
    tidy = term.strip().upper()
    return _DEFINED_TERMS.get(re.sub(r"[^A-Z]", "", tidy)) or body_part_of_words(tidy) or tidy


def body_part_of_words(words: str) -> str:
    """The one body part that a text speaks of, or "" if none or several."""
    found = _meanings(words, _PART_PHRASES)
    if "SPINE" in found and len(found) == 2:
        found.discard("SPINE")
    return found.pop() if len(found) == 1 else ""


def view_of_words(words: str) -> tuple[View | None, str]:
    """(projection, "") or (None, name of another projection such as "oblique"), or (None, "") if it does not settle.

    A film taken at the bedside or lying down is AP unless another projection is named.
    """
    found = _meanings(words, _VIEW_PHRASES) or _meanings(words, _BEDSIDE_PHRASES)
    if len(found) != 1:
        other = found & set(_OTHER)
        return None, min(other) if other and not found & {"PA"} else ""
    meaning = found.pop()
    return (None, meaning) if meaning in _OTHER else (View(meaning), "")


def _meanings(words: str, phrases: list[tuple[str, str]]) -> set[str]:
    text = _folded(words).replace(" ", "  ")
    found: set[str] = set()
    for phrase, meaning in phrases:
        wanted = phrase.replace(" ", "  ").strip().join((" ", " "))
        if wanted in text:
            found.add(meaning)
            text = text.replace(wanted, " # ")
    return found


def mentions(words: str, phrases: str) -> str:
    """The first of the phrases (separated by "|") that the text has as whole words, or ""."""
    text = _folded(words)
    return next((phrase for phrase in phrases.split("|") if f" {phrase} " in text), "")
