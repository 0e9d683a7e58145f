// SPDX-License-Identifier: Apache-2.0

/** The JSON answer at `url`; throws when there is none within `limitMs`. */
export async function getJson(url: string, limitMs: number): Promise<unknown> {
  const controller = new AbortController();
  const timer = setTimeout(() => {
    controller.abort(new Error(`no answer within ${limitMs} ms`));
  }, limitMs);
  try {
    const response = await fetch(url, { signal: controller.signal });
    return await response.json();
  } finally {
    clearTimeout(timer);
  }
}
