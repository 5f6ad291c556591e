"""The vocabulary of the report writer: data only, one tuple a purpose."""

from __future__ import annotations

HEADINGS = {
    "technique": ("Technique", "Procedure", "Examination technique", "Protocol"),
    "history": ("Indication", "Clinical history", "History", "Clinical information", "Reason for exam"),
    "comparison": ("Comparison", "Comparison studies", "Prior studies"),
    "findings": ("Findings", "Report", "Description"),
    "impression": ("Impression", "Conclusion", "Opinion", "Summary"),
}
TITLES = (
    "CT abdomen with intravenous contrast",
    "CT ABDOMEN AND PELVIS WITH CONTRAST",
    "Contrast-enhanced CT of the abdomen",
    "CT scan of the upper abdomen, portal venous phase",
    "MDCT abdomen/pelvis + C",
    "Exam: CT abdomen, portal venous phase",
)
TECHNIQUE = (
    "Portal venous phase images of the abdomen were acquired after {ml} mL of intravenous iodinated contrast, {t} mm axial slices.",
    "Helical CT of the abdomen following {ml} ml IV contrast in the portal venous phase. Slice thickness {t} mm.",
    "Axial {t} mm sections through the abdomen were obtained 70 seconds after injection of {ml} mL of nonionic contrast.",
    "Multidetector CT, portal venous phase, {t} mm reconstructions with coronal and sagittal reformats. Contrast: {ml} mL.",
    "Contrast enhanced CT with {t} mm collimation; {ml} mL of iodinated contrast medium was given intravenously.",
    "CT of the abdomen after oral and {ml} mL intravenous contrast. {t} mm slices. Dose-length product {dlp} mGy*cm.",
)
HISTORY = (
    "Abdominal pain.",
    "Weight loss and loss of appetite.",
    "Abnormal liver function tests.",
    "{age} year old with epigastric pain.",
    "{age}-year-old patient, follow-up examination.",
    "Elevated CA 19-9, rule out pancreatic mass.",
    "Back pain, please evaluate the pancreas.",
    "New onset diabetes. Evaluate for pancreatic malignancy.",
    "Jaundice, query obstructing lesion.",
    "Pancreatic lesion seen on ultrasound.",
    "History of colon cancer, status post resection. Evaluate for metastases.",
    "Haematuria, rule out renal mass.",
    "Incidental 9 mm nodule on outside ultrasound.",
    "Known 3 cm liver haemangioma on ultrasound.",
    "Surveillance.",
    "Nausea and vomiting for {n} weeks.",
    "Left flank pain. Query stone.",
    "Staging.",
)
HISTORY_TUMOUR = (
    "Known pancreatic mass, follow-up.",
    "Follow-up of a known lesion.",
    "Lesion on ultrasound, further characterisation.",
)
COMPARISON_NONE = ("None.", "None available.", "No prior studies are available for comparison.", "No relevant prior imaging.")
COMPARISON = (
    "CT abdomen dated {date}.",
    "CT {date}.",
    "Prior CT of {date}.",
    "Compared with the examination of {date}.",
    "Outside CT from {date}.",
)
NOUNS_ANY = ("lesion", "focal lesion", "focus", "nodule")
NOUNS_LARGE = ("mass", "lesion", "solid lesion", "mass lesion", "solid mass", "soft tissue mass", "tumor", "nodule")
ADJECTIVES = {
    "hypo": ("hypodense", "hypoattenuating", "low-attenuation", "low-density", "low attenuation", "low density", "hypodense"),
    "hyper": ("hyperdense", "hyperattenuating", "high-attenuation", "high-density", "hyperattenuating"),
}
ENHANCEMENT = {
    "hypo": ("hypoenhancing", "poorly enhancing"),
    "hyper": ("hyperenhancing", "avidly enhancing", "hypervascular"),
}
MARGINS = (
    "", "", "", "", "ill-defined ", "well-defined ", "rounded ", "irregular ", "lobulated ", "subtle ", "poorly marginated ",
)
RELATIVE = {
    "hypo": ("hypodense to the surrounding parenchyma", "of lower attenuation than the parenchyma", "hypoattenuating relative to the gland"),
    "hyper": ("hyperdense to the surrounding parenchyma", "of higher attenuation than the parenchyma", "hyperattenuating relative to the gland"),
}
LOCATIONS = {
    "pancreas_head": ("pancreatic head", "head of the pancreas", "head of pancreas"),
    "pancreas_body": ("pancreatic body", "body of the pancreas", "mid body of the pancreas"),
    "pancreas_tail": ("pancreatic tail", "tail of the pancreas", "distal tail of the pancreas"),
    "pancreas": ("pancreas",),
    "liver": ("liver", "hepatic parenchyma"),
    "spleen": ("spleen",),
    "kidney": ("{side} kidney", "{side} renal cortex", "{side} renal parenchyma"),
    "kidney_upper_pole": ("upper pole of the {side} kidney", "{side} upper pole renal cortex", "{side} kidney upper pole"),
    "kidney_interpolar": ("interpolar region of the {side} kidney", "interpolar {side} kidney", "mid portion of the {side} kidney"),
    "kidney_lower_pole": ("lower pole of the {side} kidney", "{side} kidney lower pole", "inferior pole of the {side} kidney"),
}
SIZED = (
    "There is {a_adj_noun} in the {loc} measuring {size}.",
    "There is {a_adj_noun} in the {loc}, measuring {size}.",
    "{A_adj_noun} is seen in the {loc}, measuring {size}.",
    "{A_adj_noun} measuring {size} is present in the {loc}.",
    "{A_size} {adj}{noun} is noted in the {loc}.",
    "{A_size} {adj}{noun} is present within the {loc}.",
    "Within the {loc}, {a_adj_noun} measures {size}.",
    "In the {loc} there is {a_size} {adj}{noun}.",
    "{Adj_noun} in the {loc}, {size}.",
    "{Adj_noun} in the {loc} ({size}).",
    "{Noun} of {size} in the {loc}, {rel}.",
    "The {loc} contains {a_adj_noun} of {size}.",
    "The {loc} shows {a_size} {adj}{noun}.",
    "{A_adj_noun} {size} in size is observed in the {loc}.",
    "{A_adj_noun} with a size of {size} was detected in the {loc}.",
    "There is {a_adj_noun} in the {loc}. It measures {size}.",
    "{A_adj_noun} is identified in the {loc}. The {head} measures {size}.",
    "Redemonstrated is {a_adj_noun} in the {loc}, which currently measures {size}.",
)
UNSIZED = (
    "There is {a_small}{adj}{noun} in the {loc}.",
    "{A_small}{adj}{noun} is seen in the {loc}.",
    "{Small}{adj}{noun} in the {loc}.",
    "{A_small}{adj}{noun} is present within the {loc}.",
    "Note is made of {a_small}{adj}{noun} in the {loc}.",
    "The {loc} contains {a_small}{adj}{noun}.",
)
SUBCENTIMETRE = (
    "There is a subcentimeter {adj}{noun} in the {loc}.",
    "Subcentimetre {adj}{noun} in the {loc}, too small to characterise.",
    "A sub-centimeter {adj}{noun} is seen in the {loc}.",
    "{A_adj_noun} less than 1 cm is seen in the {loc}.",
    "{A_adj_noun} of less than 10 mm is noted in the {loc}.",
)
MULTIPLE_SIZED = (
    "Multiple {adj}{nouns} throughout the {organ}, the largest in the {loc} measuring {size}.",
    "There are multiple {adj}{nouns} in the {organ}. The largest measures {size} and lies in the {loc}.",
    "Numerous {adj}{nouns} are seen in the {organ}, the largest of which measures {size} in the {loc}.",
    "Several {adj}{nouns} are scattered throughout the {organ}; the largest, in the {loc}, measures {size}.",
    "Innumerable {adj}{nouns} in the {organ}, largest {size} in the {loc}.",
)
MULTIPLE_UNSIZED = (
    "Multiple {adj}{nouns} are scattered throughout the {organ}.",
    "There are numerous {adj}{nouns} in the {organ}.",
    "Several {adj}{nouns} are seen in the {organ}.",
)
COUNTED_SIZED = (
    "{Count} {adj}{nouns} in the {organ}, the {larger} measuring {size} in the {loc}.",
    "There are {count} {adj}{nouns} in the {organ}. The {larger} is in the {loc} and measures {size}.",
    "{Count} {adj}{nouns} are seen in the {organ}, the {larger} of which measures {size} and is located in the {loc}.",
)
PRIOR_LARGER = (
    ", previously {prior}", " (previously {prior})", ", previously {prior} on {date}", " (was {prior} on {date})",
    ", increased from {prior}", " (prior {prior})", ", compared to {prior} on the prior study", ", formerly {prior}",
)
PRIOR_STABLE = (", unchanged", ", stable since {date}", ", unchanged from {date}", ", similar to prior", ", not significantly changed")
NEGATIVE = {
    "pancreas": (
        "The pancreas is unremarkable.", "Pancreas: unremarkable.", "No pancreatic mass.", "No focal pancreatic lesion.",
        "The pancreas is normal in size and attenuation, without focal lesion.", "Pancreas is normal.",
        "The pancreas appears normal, with no mass identified.", "No mass is seen in the pancreas.",
        "No focal lesion of the pancreas is identified.", "The pancreas enhances homogeneously without evidence of a mass.",
        "Normal pancreas.", "The pancreas is within normal limits.",
    ),
    "liver": (
        "The liver is unremarkable.", "No focal hepatic lesion.", "The liver is normal in size and contour with no focal lesion.",
        "No focal liver lesions are seen.", "Normal liver.", "The liver enhances homogeneously. No focal lesion is identified.",
        "No suspicious hepatic lesion.", "Liver within normal limits.", "No hepatic mass.",
    ),
    "spleen": (
        "The spleen is unremarkable.", "Spleen is normal.", "No focal splenic lesion.", "The spleen is normal in size.",
        "Normal spleen.", "Spleen unremarkable.", "The spleen is normal in size without focal lesion.",
    ),
    "kidney": (
        "The kidneys are unremarkable.", "Both kidneys are normal.", "No renal mass.", "No renal mass or hydronephrosis.",
        "Kidneys enhance symmetrically without focal lesion.", "Kidneys unremarkable.", "The kidneys are normal in size and enhancement.",
        "No focal renal lesion or hydronephrosis.", "Normal kidneys bilaterally.",
    ),
}
ONE_KIDNEY_NORMAL = (
    "The {side} kidney is unremarkable.", "The {side} kidney is normal.", "No focal lesion in the {side} kidney.",
    "{Side} kidney unremarkable.",
)
NO_STATEMENT = {
    "pancreas": ("Mild fatty atrophy of the pancreas.", "The pancreas is mildly atrophic.", "There is fatty replacement of the pancreas."),
    "liver": ("Mild hepatic steatosis.", "The liver is mildly enlarged, measuring {liver} cm in craniocaudal length."),
    "spleen": ("The spleen measures {spleen} cm in length.", "Spleen size {spleen} cm."),
    "kidney": ("No hydronephrosis.", "The kidneys enhance symmetrically."),
}
OTHER = (
    "The abdominal aorta is normal in calibre, measuring {aorta} mm.", "The aorta measures {aorta_cm} cm in diameter.",
    "No abdominal aortic aneurysm.", "The main pancreatic duct measures {duct} mm.", "The pancreatic duct is not dilated ({duct} mm).",
    "The common bile duct measures {cbd} mm.", "Common bile duct is {cbd} mm in caliber.", "No biliary dilatation.",
    "The gallbladder is unremarkable.", "No gallstones.", "The adrenal glands are normal.", "Both adrenal glands are unremarkable.",
    "No adrenal nodule.", "No free fluid.", "No ascites.", "No bowel obstruction.", "The stomach is distended with fluid.",
    "Moderate stool burden in the colon.", "The appendix is not visualised.", "No pathologically enlarged lymph nodes.",
    "No retroperitoneal lymphadenopathy.", "The portal vein and splenic vein are patent.",
    "The visualised lung bases are clear.", "Minor dependent atelectasis at the lung bases.",
    "Degenerative changes of the lumbar spine.", "No suspicious osseous lesion.", "No free intraperitoneal air.",
    "Mild atherosclerotic calcification of the aorta.", "A small hiatal hernia is noted.", "Diverticulosis without diverticulitis.",
)
IMPRESSION_SIZED = (
    "{A_size} {noun} in the {loc}.", "{Noun} in the {loc} measuring {size}.", "{Adj_noun} of the {loc}, {size}.",
    "{Noun} in the {loc}, {size}, as described above.", "{A_size} {adj}{noun} of the {loc}.",
)
IMPRESSION_UNSIZED = (
    "{Adj_noun} in the {loc} as described.", "{Noun} in the {loc}; further evaluation with MRI is recommended.",
    "{Adj_noun} in the {loc}, as above.", "{Noun} of the {loc}. Endoscopic ultrasound is suggested.",
    "{Adj_noun} in the {loc}, suspicious for neoplasm.",
)
IMPRESSION_MULTIPLE = (
    "Multiple {organ_adj} {nouns} as described above.", "{Organ_adj} {nouns} as above.", "Multiple {nouns} in the {organ}.",
)
IMPRESSION_NORMAL = (
    "No acute abnormality.", "No acute abdominal findings.", "Normal CT of the abdomen.", "No evidence of malignancy in the abdomen.",
    "Unremarkable examination.", "No abdominal mass.", "No acute intra-abdominal pathology.", "No significant abnormality.",
)
IMPRESSION_EXTRA = (
    "No evidence of metastatic disease.", "No lymphadenopathy.", "No acute findings otherwise.", "Clinical correlation is recommended.",
    "No ascites.", "Follow-up CT in 6 months is suggested.", "Surgical consultation is advised.",
)
ORGAN_WORDS = {"pancreas": "pancreatic", "liver": "hepatic", "kidney": "renal", "spleen": "splenic"}
ORGAN_LABELS = {"pancreas": "Pancreas", "liver": "Liver", "kidney": "Kidneys", "spleen": "Spleen"}
COUNT_WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
