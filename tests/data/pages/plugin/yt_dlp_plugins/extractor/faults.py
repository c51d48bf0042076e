"""A site whose pages fail as those of real sites do: each by the very exception that yt-dlp's own extractors raise."""

from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import ExtractorError, UserNotLive


class FaultIE(InfoExtractor):
    _VALID_URL = r'https?://127\.0\.0\.1:\d+/fault/(?P<id>\w+)'

    def _real_extract(self, url):
        video_id = self._match_id(url)
        if video_id == 'geo':
            self.raise_geo_restricted(countries=['DE', 'AT'])
        if video_id == 'login':
            self.raise_login_required()
        if video_id == 'private':
            raise ExtractorError('Private video', expected=True)
        if video_id == 'live':
            raise UserNotLive(video_id=video_id)
        if video_id == 'drm':
            self.report_drm(video_id)
        if video_id == 'unexpected':
            return {'id': video_id, 'title': {}['missing']}
        if video_id == 'formats':
            return {'id': video_id, 'title': 'x', 'formats': []}
        if video_id == 'odd':
            film = url.replace('/fault/odd', '/film.mp4')
            return {
                'id': video_id,
                'title': '--exec "touch pwned"\r\nSet-Cookie: a=b\u202e $(touch pwned) %(title)s',
                'chapters': [{'start_time': 0, 'end_time': 1, 'title': 'one\ntwo'}],
                'duration': 2,
                'formats': [
                    {'format_id': '--exec', 'url': film, 'vcodec': 'avc1', 'acodec': 'mp4a.40.2',
                     'http_headers': {'Referer': 'x\r\nHost: 10.0.0.1', 'X-Evil': '1', 'Origin': 'https://video.example'}},
                    {'format_id': 'file', 'url': 'file:///etc/passwd', 'vcodec': 'avc1', 'acodec': 'mp4a.40.2', 'height': 720},
                ],
            }
        return self.url_result(url.replace('/fault/', '/'))
