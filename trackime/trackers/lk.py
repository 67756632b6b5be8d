"""Pyramidal Lucas-Kanade with a memory: needs no weights, works at the video's own resolution.

From frame to frame each point is followed by OpenCV's pyramidal Lucas-Kanade (Bouguet 2000), forward and back. Its
appearance is compared with the frame before and, after affine alignment, with the query frame (Shi and Tomasi 1994,
"Good Features to Track"), which also takes out drift (Matthews, Ishikawa and Baker 2004, "The Template Update
Problem"). A logistic function of these cues is the visibility. A point that is lost coasts and is looked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trackime.devices import resolve_device
from trackime.errors import InputError
from trackime.trackers.base import Features, PointTracker
from trackime.trackers.patches import CENTRAL, IDENTITY, Array, Templates, align, plausible, sample, similarity
from trackime.trackers.redetect import Frame, dominant_motion, search

Rows = npt.NDArray[np.intp]

PARAM = dict(
    drift=1.0, drift_ncc=0.8, drift_px=2.0, retry_fb=1.0, retry_ncc=0.8, steps=4, steps_found=8, damp=0.8,
    radius=0.05, grow=0.015, radius_max=0.15, found_ncc=0.85, lost=0.5, aff_ncc=0.8, cw=0.5, fbw=0.1, small=11, srch=0.1, keep=5.0, keeplk=0, found=.4,
)
W_SEEN = np.array([1.94, -0.41, 2.3, 0.74, -7.15, -4.8, -0.7, -0.44, 1.12], np.float32)
W_FOUND = np.array([1.02, -3.35, -1.68, -2.04, -0.5, -1.24], np.float32)
LOG: list | None = None


@dataclass
class _Points:
    """The N points of one clip between two frames."""

    start: npt.NDArray[np.int64]  # [N] query frame
    xy: Array  # [N, 2]
    velocity: Array  # [N, 2] pixels a frame
    affine: Array  # [N, 2, 2] from the query frame's surroundings to the present ones
    visibility: Array  # [N]
    hidden: npt.NDArray[np.int64]  # [N] frames since it was last seen; 0: followed
    templates: Templates  # of the query frame
    kept: Array
    lkpos: Array
    recent: Array  # [N, G] patch when last surely seen
    time: int = 0
    last: Frame | None = None


class LucasKanade(PointTracker):
    name = "lk"

    def __init__(self, device="cpu", win=21, levels=None, query_chunk=2048, redetect=True):
        resolve_device(device)
        self.device = torch.device("cpu")
        self.win, self.levels, self.query_chunk, self.redetect = win, levels, query_chunk, redetect

    def encode(self, frames: Tensor) -> Features:
        weights = frames.new_tensor([0.299, 0.587, 0.114])
        rows = []
        for clip in frames:
            row = []
            for f in clip:
                g = (f * weights[:, None, None]).sum(0)
                row.append(Frame((g * 255 + 0.5).clamp(0, 255).to(torch.uint8).cpu().numpy()))
            rows.append(row)
        return Features({"frames": rows}, (frames.shape[-2], frames.shape[-1]))

    def open(self, queries: Tensor, size):
        return [self._open(q.detach().cpu().numpy()) for q in queries]

    def _open(self, q):
        n = len(q)
        return _Points(
            q[:, 2].astype(np.int64), q[:, :2].astype(np.float32), np.zeros((n, 2), np.float32),
            np.tile(IDENTITY, (n, 1, 1)), np.zeros(n, np.float32), np.zeros(n, np.int64),
            Templates.empty(n), np.zeros(n), np.zeros((n, 2), np.float32), np.zeros((n, 169), np.float32),
        )

    def advance(self, state, features):
        n, length = (len(state[0].xy) if state else 0), features.frames
        xy = np.zeros((len(state), n, length, 2), np.float32)
        vis = np.zeros((len(state), n, length), np.float32)
        for b, points in enumerate(state):
            for t, frame in enumerate(features.data["frames"][b]):
                self._step(points, frame)
                xy[b, :, t] = points.xy
                vis[b, :, t] = points.visibility
        return torch.from_numpy(xy), torch.from_numpy(vis), state

    def _levels(self, grey):
        if self.levels is not None:
            return self.levels
        return int(max(0, np.floor(np.log2(max(1.0, min(grey.shape) / self.win)))))

    def _step(self, s: _Points, frame: Frame):
        running = np.flatnonzero(s.start < s.time)
        if len(running) and s.last is not None:
            P = PARAM
            motion = None

            def dom():
                nonlocal motion
                if motion is None:
                    motion = dominant_motion(s.last.grey, frame.grey, self.win, self._levels(frame.grey))
                return motion

            rows = running[s.hidden[running] == 0]
            if len(rows):
                self._follow(s, rows, frame, dom)
            rows = running[s.hidden[running] > 0]
            if len(rows):
                self._coast(s, rows, frame, dom)
            h, w = frame.grey.shape
            out = (s.xy[running] < 0).any(1) | (s.xy[running] > (w, h)).any(1)
            s.visibility[running[out]] = 0
        new = np.flatnonzero(s.start == s.time)
        if len(new):
            t = Templates.cut(frame.smooth, s.xy[new])
            s.templates.put(new, t)
            s.recent[new] = t.patch
            s.visibility[new] = 1
        s.time += 1
        s.last = frame

    def _lk(self, a, b, p, guess, levels, win=None):
        win = win or self.win
        opts = dict(winSize=(win, win), maxLevel=levels, minEigThreshold=1e-5,
                    criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 0.01),
                    flags=cv2.OPTFLOW_USE_INITIAL_FLOW)
        q, ok, _ = cv2.calcOpticalFlowPyrLK(a, b, p[:, None] - 0.5, guess[:, None].copy() - 0.5, **opts)
        q = q[:, 0] + 0.5
        return np.where((ok > 0) & np.isfinite(q).all(1, keepdims=True), q, guess)

    def _pair(self, s, frame, p, guess, levels, before, win=None):
        q = self._lk(s.last.grey, frame.grey, p, guess, levels, win)
        r = self._lk(frame.grey, s.last.grey, q, q + (p - guess), levels, win)
        fb = np.sqrt(((r - p) ** 2).sum(1))
        eye = np.broadcast_to(IDENTITY, (len(p), 2, 2))
        after = sample(frame.smooth, q, eye)
        return q, fb, after, similarity(before, after)

    def _follow(self, s, rows, frame, dom):
        P = PARAM
        p = s.xy[rows]
        eye = np.broadcast_to(IDENTITY, (len(p), 2, 2))
        before = sample(s.last.smooth, p, eye)
        L = self._levels(frame.grey)
        q, fb, after, ncc = self._pair(s, frame, p, p, L, before)
        bad = np.flatnonzero((fb > P["retry_fb"]) | (ncc < P["retry_ncc"]))
        if len(bad):
            def tryit(k, guess, lv, win):
                q2, fb2, af2, ncc2 = self._pair(s, frame, p[k], guess.astype(np.float32), lv, before[k], win)
                better = cost(ncc2, fb2, before[k], af2) < cost(ncc[k], fb[k], before[k], after[k])
                kk = k[better]
                q[kk], fb[kk], after[kk], ncc[kk] = q2[better], fb2[better], af2[better], ncc2[better]

            def cost(n, f, b4, af):
                return P["cw"] * (1 - n) + (1 - P["cw"]) * (1 - similarity(b4[:, CENTRAL], af[:, CENTRAL])) + P["fbw"] * np.minimum(f, 5)
            m = dom()
            tryit(bad, p[bad] + s.velocity[rows[bad]], min(L, 2), self.win)
            tryit(bad, p[bad] @ m[:, :2].T + m[:, 2], min(L, 2), self.win)
            if P["small"]:
                tryit(bad, q[bad].copy(), 1, P["small"])
                tryit(bad, p[bad], L, P["small"])
            bad = bad[(fb[bad] > P["retry_fb"]) | (ncc[bad] < P["retry_ncc"])]
            if P["srch"] and len(bad):
                rad = np.full(len(bad), P["srch"] * min(frame.grey.shape), np.float32)
                c = search(frame.half, before[bad], p[bad] + 0.5 * s.velocity[rows[bad]], rad)
                tryit(bad, c, 1, P["small"] or self.win)
        tm = s.templates[rows]
        a_xy, a_aff, a_patch = align(frame.smooth, tm, q, s.affine[rows], P["steps"])
        sim_t = similarity(a_patch, tm.patch)
        fine = plausible(a_aff)
        shift = np.sqrt(((a_xy - q) ** 2).sum(1))
        feats = np.stack([
            np.ones_like(fb), np.minimum(fb, 5), 1 - ncc, 1 - similarity(before[:, CENTRAL], after[:, CENTRAL]),
            1 - sim_t, 1 - similarity(a_patch[:, CENTRAL], tm.patch[:, CENTRAL]),
            np.minimum(np.abs(before[:, CENTRAL].mean(1) - after[:, CENTRAL].mean(1)) / 10, 5),
            np.minimum(shift, 3), 1 - np.maximum(similarity(after, s.recent[rows]), sim_t),
        ], 1).astype(np.float32)
        prob = 1 / (1 + np.exp(-(feats * W_SEEN).sum(1)))
        if LOG is not None:
            LOG.append(("seen", s.time, rows.copy(), p.copy(), q.copy(), a_xy.copy(), feats))
        use = fine & (sim_t > P["drift_ncc"]) & (shift < P["drift_px"])
        new = np.where(use[:, None], q + np.float32(P["drift"]) * (a_xy - q), q)
        upd = fine & (sim_t > P["aff_ncc"])
        s.affine[rows] = np.where(upd[:, None, None], a_aff, s.affine[rows])
        seen = prob > P["lost"]
        g = rows[seen]
        s.velocity[g] = 0.5 * s.velocity[g] + 0.5 * (new - p)[seen]
        s.xy[g] = new[seen]
        s.visibility[g] = prob[seen]
        sure = prob > 0.8
        s.recent[rows[sure]] = after[sure]
        b = rows[~seen]
        s.hidden[b] = 1
        s.visibility[b] = prob[~seen]
        s.kept[b] = fb[~seen] < 1
        s.lkpos[b] = q[~seen]
        # where LK at least agrees with itself, it is the better guess

    def _coast(self, s, rows, frame, dom):
        P = PARAM
        m = dom()
        p = s.xy[rows]
        carried = (p @ m[:, :2].T + m[:, 2]).astype(np.float32)
        own = np.where((s.hidden[rows] == 1)[:, None], s.velocity[rows] - (carried - p), s.velocity[rows])
        # while hidden `velocity` is relative to the dominant motion
        own = own * np.float32(P["damp"])
        s.velocity[rows] = own
        new = carried + own
        if P['keeplk']:
            kk = (s.hidden[rows] == 1) & (s.kept[rows] > 0)
            new = np.where(kk[:, None], s.lkpos[rows], new)
        h, w = frame.grey.shape
        new = np.clip(new, (-w, -h), (2 * w, 2 * h)).astype(np.float32)
        s.xy[rows] = new
        hid = s.hidden[rows]
        s.visibility[rows] = np.where(hid == 1, s.visibility[rows], np.minimum(s.visibility[rows], 0.3) * 0.7)
        s.hidden[rows] += 1
        if not self.redetect:
            return
        side = min(h, w)
        radius = np.minimum(side * (P["radius"] + P["grow"] * hid), side * P["radius_max"])
        near = ((new > -radius[:, None]) & (new < (w, h) + radius[:, None])).all(1)
        k = np.flatnonzero(near)
        if not len(k):
            return
        tm = s.templates[rows[k]]
        best = None
        for patches in (s.recent[rows[k]], tm.patch):
            c = search(frame.half, patches, new[k], radius[k])
            for aff in (s.affine[rows[k]],):
                x, a, patch = align(frame.smooth, tm, c, aff, P["steps_found"])
                ncc = similarity(patch, tm.patch)
                cc = similarity(patch[:, CENTRAL], tm.patch[:, CENTRAL])
                score = np.minimum(ncc, cc + 0.1)
                ok = plausible(a) & (np.sqrt(((x - c) ** 2).sum(1)) < 6)
                score = np.where(ok, score, -1)
                if best is None:
                    best = [x, a, patch, ncc, cc, score]
                else:
                    bt = score > best[5]
                    for i, v in enumerate((x, a, patch, ncc, cc, score)):
                        best[i] = np.where(bt.reshape(-1, *[1] * (v.ndim - 1)), v, best[i])
        x, a, patch, ncc, cc, score = best
        if LOG is not None:
            d = np.sqrt(((x - new[k]) ** 2).sum(1))
            LOG.append(("found", s.time, rows[k], x.copy(), new[k].copy(), np.stack(
                [ncc, cc, d / radius[k], hid[k], tm.patch.std(1), score], 1)))
        d = np.sqrt(((x - new[k]) ** 2).sum(1))
        F = np.stack([np.ones_like(ncc), 1 - ncc, 1 - cc, d / radius[k], np.log(hid[k]), 1 / (1 + tm.patch.std(1) / 5)], 1)
        pf = 1 / (1 + np.exp(-(F * W_FOUND).sum(1)))
        got = (score > -1) & (pf > P["found"]) & (x >= 0).all(1) & (x <= (w, h)).all(1)
        g = rows[k[got]]
        s.hidden[g] = 0
        s.xy[g] = x[got]
        s.affine[g] = a[got]
        s.visibility[g] = np.maximum(0.51, pf[got])
        s.velocity[g] = 0
