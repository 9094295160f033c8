import {
  CompositePayloadConverter,
  JsonPayloadConverter,
  type Payload,
  type PayloadConverterWithEncoding,
  UndefinedPayloadConverter,
} from '@temporalio/common';
import { decode, encode } from '@temporalio/common/lib/encoding';

/** Dates stay dates on their way from workflow to activity. */
class DateConverter implements PayloadConverterWithEncoding {
  readonly encodingType = 'text/date';

  toPayload(value: unknown): Payload | undefined {
    if (!(value instanceof Date)) return undefined;
    return { metadata: { encoding: encode(this.encodingType) }, data: encode(value.toISOString()) };
  }

  fromPayload<T>({ data }: Payload): T {
    return new Date(decode(data ?? new Uint8Array())) as T;
  }
}

export const payloadConverter = new CompositePayloadConverter(
  new UndefinedPayloadConverter(),
  new DateConverter(),
  new JsonPayloadConverter(),
);
