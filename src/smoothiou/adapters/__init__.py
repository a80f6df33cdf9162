"""Box losses of ours in detectors of other frameworks; each module imports its host only when it is called.

torchvision's detectors need none of these: `smoothiou.set_box_loss`.
"""
