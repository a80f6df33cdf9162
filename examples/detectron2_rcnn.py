"""detectron2's Faster R-CNN with Smooth IoU, a few steps on noise: python examples/detectron2_rcnn.py.

Needs detectron2 (https://github.com/facebookresearch/detectron2); nothing is downloaded.
"""

import torch
from detectron2 import model_zoo
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from smoothiou.adapters.detectron2 import set_box_loss

torch.manual_seed(0)
cfg = model_zoo.get_config("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml")
cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS, cfg.MODEL.ROI_HEADS.NUM_CLASSES = "cpu", "", 2
cfg.MODEL.RESNETS.NORM = "BN"  # frozen norms would leave random weights without scale
model = set_box_loss(build_model(cfg).train(), "smooth-iou")

instances = Instances((128, 160))
instances.gt_boxes = Boxes(torch.tensor([[10.0, 12, 70, 90], [80, 20, 150, 100]]))
instances.gt_classes = torch.tensor([0, 1])
batch = [{"image": torch.rand(3, 128, 160) * 255, "height": 128, "width": 160, "instances": instances}]
optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
with EventStorage():
    for step in range(2):
        losses = model(batch)
        sum(losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {step + 1}", {key: round(value.item(), 4) for key, value in losses.items()})
