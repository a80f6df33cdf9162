"""A piece of an MMDetection 3 configuration: Faster R-CNN whose second stage trains its boxes with Smooth IoU.

`_base_` it on any Faster R-CNN of MMDetection: python tools/train.py examples/mmdet_config.py
"""

_base_ = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"

model = {
    "roi_head": {
        "bbox_head": {
            # Deltas, as the paper has it; with "reg_decoded_bbox": True and "decoded": True it gets boxes in pixels.
            "reg_decoded_bbox": False,
            "loss_bbox": {
                "type": "smoothiou.adapters.mmdet.SmoothIoUBoxLoss",
                "loss": "smooth-iou",
                "decoded": False,
                "_delete_": True,
            },
        }
    }
}
