"""nnU-Net finds trainers by class name in the folder that ``nnUNet_extTrainer`` names; put a copy there."""

from rsuper.integrations.nnunet import ReportSupervisedTrainer


class ReportSupervisedTrainer250Epochs(ReportSupervisedTrainer):
    """All settings are class attributes; see ``ReportSupervisedTrainer``."""

    report_fraction = 0.5  # half of each batch are report cases
    report_warmup = 0.2  # the first fifth of the epochs without report terms

    def __init__(self, plans, configuration, fold, dataset_json, device):  # type: ignore[no-untyped-def] # nnU-Net's
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 250
