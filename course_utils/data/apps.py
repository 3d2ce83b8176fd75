"""Apps for a phone as lists of features that are there or not, with a known truth: malware does what its payload does.

A small world in the manner of DREBIN (Arp et al. 2014), whose features it borrows the names of. Every app is of some
kind (a game, a messenger, …) and has, with a probability of that kind, each of the permissions, parts and calls that such
apps have. Malware pretends to be one of these kinds and carries a payload: a set of calls, with the permissions they need, that
together do the harm. Honest apps have single pieces of payloads (a messenger does send messages), never a whole one.

So there is a truth that no detector is asked for: ``malicious``. It looks at the payload alone.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.data.arrays import SPLITS
from course_utils.data.imageset import ImageSet
from course_utils.validate import expect, expect_choice, expect_images

SIZES = {"train": 4000, "test": 1000}

_PERMISSIONS = (
    "INTERNET ACCESS_NETWORK_STATE ACCESS_WIFI_STATE WAKE_LOCK VIBRATE FOREGROUND_SERVICE POST_NOTIFICATIONS BILLING CAMERA RECORD_AUDIO "
    "ACCESS_FINE_LOCATION ACCESS_COARSE_LOCATION READ_CONTACTS WRITE_CONTACTS READ_CALENDAR WRITE_CALENDAR BLUETOOTH NFC USE_BIOMETRIC "
    "ACTIVITY_RECOGNITION BODY_SENSORS READ_MEDIA_IMAGES READ_MEDIA_AUDIO WRITE_EXTERNAL_STORAGE SET_WALLPAPER INSTALL_SHORTCUT "
    "CHANGE_WIFI_STATE MODIFY_AUDIO_SETTINGS GET_ACCOUNTS USE_FULL_SCREEN_INTENT SEND_SMS READ_SMS RECEIVE_SMS READ_PHONE_STATE "
    "READ_CALL_LOG SYSTEM_ALERT_WINDOW REQUEST_INSTALL_PACKAGES RECEIVE_BOOT_COMPLETED BIND_DEVICE_ADMIN BIND_ACCESSIBILITY_SERVICE"
).split()
_HARDWARE = (
    "touchscreen screen.portrait screen.landscape camera camera.autofocus camera.flash microphone location.gps location.network wifi bluetooth "
    "bluetooth_le nfc telephony sensor.accelerometer sensor.gyroscope sensor.stepcounter sensor.heartrate fingerprint gamepad vulkan opengles3"
).split()
_INTENTS = (
    "MAIN LAUNCHER VIEW BROWSABLE SEND SEND_MULTIPLE SEARCH MEDIA_BUTTON APPWIDGET_UPDATE TIMEZONE_CHANGED LOCALE_CHANGED MY_PACKAGE_REPLACED "
    "HEADSET_PLUG BATTERY_LOW POWER_CONNECTED CONNECTIVITY_CHANGE USER_PRESENT BOOT_COMPLETED SMS_RECEIVED PHONE_STATE PACKAGE_ADDED"
).split()
_PARTS = (
    "SettingsActivity AboutActivity LoginActivity OnboardingActivity PrivacyPolicyActivity LicencesActivity HelpActivity FeedbackActivity "
    "ShareActivity SearchActivity ProfileActivity CartActivity PlayerService SyncService BackupAgent WidgetProvider FileProvider "
    "AdActivity AnalyticsService CrashReporter PushService MapActivity LeaderboardActivity AchievementsActivity ThemeActivity CastActivity "
    "PrintService WallpaperService TileService ShortcutActivity TutorialActivity SubscriptionActivity"
).split()
_CALLS = (
    "openConnection getNetworkInfo decodeStream playSound startTimer saveState loadImage drawFrame sortList parseJson formatDate openDatabase "
    "queryContacts writeContact getLastLocation requestLocation takePicture startPreview recordAudio connectBluetooth readNfc checkBiometric "
    "countSteps readHeartRate purchase showAd logEvent sendCrash registerPush createAccount encrypt decrypt hash base64 loadLibrary reflect "
    "sendTextMessage abortBroadcast getDeviceId getLine1Number readCallLog uploadFile startRecorderHidden hideIcon lockNow resetPassword "
    "encryptFile walkStorage downloadApk loadDex installPackage execShell drawOverlay readScreenText performClick readInbox"
).split()

_OPEN = {  # what goes into the manifest: anybody can add to it, and the app runs as before
    "permission": _PERMISSIONS, "hardware": _HARDWARE, "intent": _INTENTS, "part": _PARTS,
}
FEATURES = tuple(f"{group}.{name}" for group, names in {**_OPEN, "call": _CALLS}.items() for name in names)

PAYLOADS = {
    "premium messages": "permission.SEND_SMS call.sendTextMessage call.abortBroadcast call.hideIcon",
    "spying": "permission.RECORD_AUDIO permission.READ_CALL_LOG call.startRecorderHidden call.readCallLog call.uploadFile",
    "ransom": "permission.BIND_DEVICE_ADMIN call.lockNow call.resetPassword call.encryptFile call.walkStorage",
    "dropping": "permission.REQUEST_INSTALL_PACKAGES call.downloadApk call.loadDex call.installPackage",
    "bank theft": "permission.BIND_ACCESSIBILITY_SERVICE permission.SYSTEM_ALERT_WINDOW call.drawOverlay call.readScreenText call.readInbox",
}
_COMMON = (
    "permission.INTERNET permission.ACCESS_NETWORK_STATE hardware.touchscreen intent.MAIN intent.LAUNCHER call.openConnection "
    "call.loadImage call.parseJson call.saveState"
)
_POLISH = (  # what people put into an app that they mean to keep
    "permission.POST_NOTIFICATIONS permission.FOREGROUND_SERVICE permission.WAKE_LOCK permission.VIBRATE permission.BILLING intent.VIEW intent.BROWSABLE "
    "intent.MY_PACKAGE_REPLACED part.SettingsActivity part.AboutActivity part.OnboardingActivity part.PrivacyPolicyActivity part.LicencesActivity "
    "part.HelpActivity part.FeedbackActivity part.BackupAgent part.FileProvider part.AnalyticsService part.CrashReporter part.PushService part.AdActivity "
    "hardware.screen.portrait call.showAd call.logEvent call.sendCrash call.registerPush call.formatDate"
)
KINDS = {
    "game": "hardware.opengles3 hardware.vulkan hardware.gamepad hardware.sensor.accelerometer hardware.screen.landscape part.LeaderboardActivity part.AchievementsActivity part.TutorialActivity call.drawFrame call.playSound call.startTimer call.purchase call.loadLibrary",
    "messenger": "permission.READ_CONTACTS permission.RECORD_AUDIO permission.SEND_SMS permission.READ_SMS permission.RECEIVE_SMS permission.CAMERA intent.SEND intent.SMS_RECEIVED hardware.telephony part.ProfileActivity part.LoginActivity call.queryContacts call.sendTextMessage call.readInbox call.encrypt call.createAccount call.uploadFile",
    "camera": "permission.CAMERA permission.READ_MEDIA_IMAGES permission.WRITE_EXTERNAL_STORAGE permission.ACCESS_FINE_LOCATION hardware.camera hardware.camera.autofocus hardware.camera.flash intent.SEND_MULTIPLE part.ShareActivity part.PrintService call.takePicture call.startPreview call.decodeStream call.uploadFile",
    "shop": "part.CartActivity part.LoginActivity part.SearchActivity part.ProfileActivity part.SubscriptionActivity intent.SEARCH call.purchase call.createAccount call.sortList call.hash permission.ACCESS_COARSE_LOCATION",
    "bank": "permission.USE_BIOMETRIC permission.NFC hardware.fingerprint hardware.nfc part.LoginActivity part.ProfileActivity call.checkBiometric call.encrypt call.decrypt call.hash call.readNfc call.getDeviceId permission.READ_PHONE_STATE",
    "music": "permission.READ_MEDIA_AUDIO permission.MODIFY_AUDIO_SETTINGS permission.BLUETOOTH hardware.bluetooth intent.MEDIA_BUTTON intent.HEADSET_PLUG part.PlayerService part.CastActivity part.WidgetProvider call.playSound call.connectBluetooth call.recordAudio",
    "fitness": "permission.ACTIVITY_RECOGNITION permission.BODY_SENSORS permission.ACCESS_FINE_LOCATION hardware.sensor.stepcounter hardware.sensor.heartrate hardware.bluetooth_le hardware.location.gps part.MapActivity part.SyncService call.countSteps call.readHeartRate call.requestLocation call.connectBluetooth",
    "tool": "permission.RECEIVE_BOOT_COMPLETED permission.SYSTEM_ALERT_WINDOW permission.CHANGE_WIFI_STATE permission.INSTALL_SHORTCUT permission.REQUEST_INSTALL_PACKAGES permission.BIND_DEVICE_ADMIN permission.BIND_ACCESSIBILITY_SERVICE intent.BOOT_COMPLETED intent.USER_PRESENT intent.BATTERY_LOW part.TileService part.WidgetProvider part.ThemeActivity call.getNetworkInfo call.walkStorage call.encryptFile call.downloadApk call.installPackage call.drawOverlay call.lockNow call.readScreenText",
}


@dataclass(frozen=True, eq=False, repr=False)
class AppSet(ImageSet):
    """Apps as pictures of one row: ``images`` (N, 1, 1, D), 1 where a feature is there; labels 0 'honest', 1 'malware'.

    ``features``  the names of the D features
    ``addable``   (1, 1, D) bool: what stands in the manifest and can be added without any change of what the app does
    """

    features: tuple[str, ...] = FEATURES

    @property
    def addable(self) -> Tensor:
        """(1, 1, D) bool: everything but the calls."""
        return torch.tensor([not name.startswith("call.") for name in self.features], device=self.images.device).view(1, 1, -1)


def malicious(images: Tensor) -> Tensor:
    """The truth about apps (N, 1, 1, D), (N,) bool: whether the whole of some payload is there."""
    expect_images(images)
    expect(images[0].numel() == len(FEATURES), "images", f"apps (N, 1, 1, {len(FEATURES)})", f"the shape {tuple(images.shape)}")
    there = images.flatten(1) > 0.5
    return torch.stack([there[:, _places(names)].all(dim=1) for names in PAYLOADS.values()]).any(dim=0)


def load(split: str = "train") -> AppSet:
    """4,000 training or 1,000 test apps, half of them malware; always the same. Raises ValueError for another split."""
    expect_choice(split, "split", SPLITS)
    draw = torch.Generator("cpu").manual_seed(1 + SPLITS.index(split))
    labels = torch.randperm(SIZES[split], generator=draw, device="cpu") % 2
    apps = torch.zeros(len(labels), len(FEATURES), device="cpu")
    for row, label in zip(apps, labels.tolist()):
        _write_app(row, bool(label), draw)
    honest = labels == 0
    while (broken := malicious(apps[:, None, None]) & honest).any():  # by chance a whole payload came together
        for row in broken.nonzero().flatten().tolist():
            apps[row] = 0
            _write_app(apps[row], False, draw)
    return AppSet(apps[:, None, None], labels, ("honest", "malware"), "apps")


def _places(names: str) -> list[int]:
    return [FEATURES.index(name) for name in names.split()]


def _write_app(row: Tensor, malware: bool, draw: torch.Generator) -> None:
    """Fill ``row`` (D,) with the features of an app of a random kind; malware gets a random payload and little polish."""
    chance = torch.full((len(FEATURES),), 0.02, device="cpu")
    chance[_places(_COMMON)] = 0.9
    kind, payload = (int(torch.randint(len(table), (), generator=draw, device="cpu")) for table in (KINDS, PAYLOADS))
    care = float(torch.rand((), generator=draw, device="cpu"))  # how much was put into this app
    chance[_places(_POLISH)] = (0.05 + 0.3 * care) if malware else (0.25 + 0.5 * care)
    chance[_places(list(KINDS.values())[kind])] = 0.5 if malware else 0.65
    row.copy_((torch.rand(len(FEATURES), generator=draw, device="cpu") < chance).float())
    if malware:
        row[_places(list(PAYLOADS.values())[payload])] = 1
