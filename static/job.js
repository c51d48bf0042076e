// One clip on its way: watches it, carries out what its buttons ask, and shows the view its state calls for.

import { cancelClip, getClip, isGone, retryClip, watchClip } from './api.js';
import { errorBox } from './dom.js';
import { update } from './memory.js';
import { CancelledView, ExpiredView, FailedView, ReadyView, RunningView } from './views.js';
import { hasExpired, isOver, stateWords } from './words.js';

export class JobCard {
  #root;
  #live;
  #hooks;
  #record = null;
  #view = null;
  #stop = () => {};
  // Announced once each, so that a screen reader hears the way and not every percent.
  #said = '';

  /// `hooks` are what only the page can do: `changed(clip)`, and optionally `again(record)`, `another(record)`,
  /// `remove(record)`; a missing one leaves its button out.
  constructor(root, live, hooks) {
    this.#root = root;
    this.#live = live;
    this.#hooks = hooks;
  }

  get id() { return this.#record?.id; }

  /// Shows a record `{id, token?, request?, clip}` and follows it until it is over.
  show(record) {
    this.#stop();
    this.#record = record;
    this.#view = null;
    this.#said = '';
    this.#render();
    this.#watch();
  }

  /// Ends the watch and brings back what the place held before any clip.
  close(placeholder) {
    this.#stop();
    this.#record = this.#view = null;
    this.#root.replaceChildren(placeholder);
  }

  #watch() {
    if (isOver(this.#record.clip)) return;
    this.#stop = watchClip(this.#record.clip, {
      seen: (clip) => this.#take(clip),
      lost: (error) => {
        if (isGone(error)) this.#take({ ...this.#record.clip, state: 'expired' });
        else this.#view.note(`${error.message} Trying again.`);
      },
    });
  }

  #take(clip) {
    const turned = clip.state !== this.#record.clip.state;
    this.#record = { ...this.#record, clip };
    if (turned) update(clip);
    this.#render();
    if (turned) this.#hooks.changed(clip);
  }

  #render() {
    const { clip } = this.#record;
    const View = viewOf(clip);
    if (this.#view instanceof View) {
      this.#view.update?.(clip);
    } else {
      const hadFocus = this.#root.contains(document.activeElement);
      this.#view = new View(this.#record, this.#actions());
      this.#root.replaceChildren(this.#view.root);
      // The button that was pressed is gone; without this the keyboard would start again at the top of the page.
      if (hadFocus) this.#root.querySelector('h2')?.focus();
    }
    this.#announce(clip);
  }

  #announce(clip) {
    const quarter = Math.floor((clip.progress ?? 0) * 4) * 25;
    const words = stateWords(clip) + (!isOver(clip) && quarter ? `, ${quarter} percent` : '');
    if (words === this.#said) return;
    this.#said = words;
    this.#live.textContent = words;
  }

  #actions() {
    const { token } = this.#record;
    const bound = (hook) => hook && (() => hook(this.#record));
    return {
      cancel: token && (() => this.#carryOut(cancelClip)),
      retry: token && (() => this.#carryOut(retryClip)),
      again: bound(this.#hooks.again),
      another: bound(this.#hooks.another),
      remove: token && bound(this.#hooks.remove),
    };
  }

  async #carryOut(call) {
    const { id, token } = this.#record;
    try {
      const clip = (await call(id, token)) ?? (await getClip(id));
      if (this.id !== id) return;
      this.#stop();
      this.#take(clip);
      this.#watch();
    } catch (error) {
      if (this.id === id) this.#view.problem.replaceChildren(errorBox(error));
    }
  }
}

function viewOf(clip) {
  if (hasExpired(clip)) return ExpiredView;
  switch (clip.state) {
    case 'ready': return ReadyView;
    case 'failed': return FailedView;
    case 'cancelled': return CancelledView;
    default: return RunningView;
  }
}
