// The clip page: copies its link, and while the clip is still being made shows how far it is.

import { ApiError, getClip } from './api.js';
import { bindCopy, errorBox } from './dom.js';
import { JobCard } from './job.js';
import { find } from './memory.js';

const link = document.getElementById('clip-link');
const place = document.getElementById('job');

if (link) {
  // Without a base_url the server writes a path, which would lead nowhere once it is pasted elsewhere.
  link.value = new URL(link.value, location.href).href;
  bindCopy(link, document.getElementById('copy-link'));
}
if (place) follow();

async function follow() {
  const id = decodeURIComponent(location.pathname.split('/')[2]);
  const job = new JobCard(place, document.getElementById('live'), {
    // The ready page is the server's to make, with the tags other sites read.
    changed: (clip) => { if (clip.state === 'ready') location.reload(); },
    again: ({ request, clip }) => location.assign(makerLink(request ?? { url: clip.recipe.url })),
  });
  try {
    const clip = await getClip(id);
    if (clip.state === 'ready') location.reload();
    else job.show({ ...find(id), id, clip });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    place.replaceChildren(errorBox(error));
  }
}

function makerLink({ url = '', start_time = '', end_time = '' }) {
  return `/?${new URLSearchParams({ url, start: start_time, end: end_time })}`;
}
