"""Ultralytics' YOLO with Smooth IoU: python examples/ultralytics_yolo.py DATA.yaml [--loss smooth-iou] [--epochs 1].

Needs `pip install ultralytics` (AGPL-3.0). Weights are random (yolov8n.yaml), so that nothing is downloaded.
"""

import argparse

from ultralytics import YOLO

from smoothiou.adapters.ultralytics import box_loss_callback

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--loss", default="smooth-iou")
parser.add_argument("--epochs", type=int, default=1)
parser.add_argument("--imgsz", type=int, default=160)
parser.add_argument("--project", default="runs/ultralytics")
options = parser.parse_args()

model = YOLO("yolov8n.yaml")
model.add_callback("on_train_start", box_loss_callback(options.loss))
model.train(
    data=options.data,
    epochs=options.epochs,
    imgsz=options.imgsz,
    project=options.project,
    batch=8,
    workers=0,
    device="cpu",
    plots=False,
    amp=False,
)
